internal import CNghttp2

extension HTTP2Session {
  /// A new nghttp2 session with the configuration's limits.
  static func makeHandle(
    role: HTTP2Role,
    configuration: HTTP2Configuration
  ) -> OpaquePointer {
    var option: OpaquePointer?
    precondition(nghttp2_option_new(&option) == 0, "no memory for nghttp2 options")
    defer { nghttp2_option_del(option) }
    nghttp2_option_set_no_auto_window_update(option, 1)
    nghttp2_option_set_no_closed_streams(option, 1)
    nghttp2_option_set_max_reserved_remote_streams(option, 0)
    nghttp2_option_set_max_send_header_block_length(option, configuration.sentHeaderBlockBytesMax)
    nghttp2_option_set_max_settings(option, configuration.floodLimits.settingsEntriesMax)
    nghttp2_option_set_max_outbound_ack(
      option,
      max(1, configuration.outboundBufferedBytesMax / queuedFrameBytes)
    )
    // nghttp2 counts a CONTINUATION again for each piece in which its header comes; the count that
    // matters is `continuationCount`.
    nghttp2_option_set_max_continuations(
      option,
      (configuration.continuationsMax + 1) * frameHeaderBytes
    )
    // See HTTP2Session+Messages.
    if role == .server { nghttp2_option_set_no_http_messaging(option, 1) }
    // Resets are counted here, by the time handed in; nghttp2 would look at a clock.
    nghttp2_option_set_stream_reset_rate_limit(option, UInt64(Int64.max), 0)

    var handle: OpaquePointer?
    let result =
      switch role {
      case .server: nghttp2_session_server_new2(&handle, callbacks, nil, option)
      case .client: nghttp2_session_client_new2(&handle, callbacks, nil, option)
      }
    guard result == 0, let handle else { preconditionFailure("nghttp2_session_new: \(result)") }
    return handle
  }

  /// Memory that nghttp2 takes for a queued control frame, roughly.
  static let queuedFrameBytes = 160

  /// Our SETTINGS and the connection's window: the first thing we send.
  func submitSettings() {
    func entry(_ id: nghttp2_settings_id, _ value: UInt32) -> nghttp2_settings_entry {
      nghttp2_settings_entry(settings_id: Int32(id.rawValue), value: value)
    }
    var settings = [
      entry(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, configuration.initialWindowBytes),
      entry(NGHTTP2_SETTINGS_MAX_FRAME_SIZE, configuration.frameBytesMax),
      entry(
        NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
        UInt32(clamping: configuration.headerListBytesMax)
      ),
    ]
    switch role {
    case .server:
      settings.append(
        entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, configuration.concurrentStreamsMax)
      )
      // Calls are equal: the tree of RFC 7540 would only cost time.
      settings.append(entry(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1))
    case .client:
      settings.append(entry(NGHTTP2_SETTINGS_ENABLE_PUSH, 0))
    }
    let result = nghttp2_submit_settings(
      handle,
      UInt8(NGHTTP2_FLAG_NONE.rawValue),
      settings,
      settings.count
    )
    precondition(result == 0, "settings out of range: \(result)")
    nghttp2_session_set_local_window_size(
      handle,
      UInt8(NGHTTP2_FLAG_NONE.rawValue),
      0,
      Int32(configuration.connectionWindowBytes)
    )
  }
}
