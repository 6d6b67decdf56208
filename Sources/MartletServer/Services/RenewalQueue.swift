import Base
import Lease
import NIOCore
import RPC
import Replica

/// Renewals of one event loop that need the leader's word, in a cluster of several: gathered, and
/// asked for together. On the event loop.
///
/// A few rounds may be under way; what comes meanwhile waits for the next.
final class RenewalQueue: @unchecked Sendable {
  private struct Waiting {
    var lease: LeaseID
    var call: CallID
  }

  private struct Stream {
    var waiting = 0
    /// Whether the client has said its last.
    var isEnded = false
  }

  private let loop: RequestLoop
  private var open: [Waiting] = []
  private var roundsUnderWay = 0
  private var isScheduled = false
  private var streams: [CallID: Stream] = [:]
  private var questions = 0
  /// Called with each answer for a call that still waits.
  var answered: (LeaseID, LeaseRenewal, ServerCall) -> Void = { _, _, _ in }

  /// Renewals of one stream that may wait; more end it.
  private static let waitingMax = 1000
  private static let roundsMax = 4
  /// Leases in one round.
  private static let roundLeasesMax = 10_000
  /// Questions about the time of leases that may be under way.
  private static let questionsMax = 1000

  init(loop: RequestLoop) {
    self.loop = loop
  }

  func append(_ lease: LeaseID, _ call: ServerCall) {
    guard streams[call.id, default: Stream()].waiting < Self.waitingMax else {
      forget(call.id)
      return call.finish(RPCStatus(.tooManyRequests))
    }
    streams[call.id, default: Stream()].waiting += 1
    open.append(Waiting(lease: lease, call: call.id))
    guard !isScheduled else { return }
    isScheduled = true
    loop.eventLoop.execute { self.startRound() }
  }

  private func startRound() {
    isScheduled = false
    guard !open.isEmpty, roundsUnderWay < Self.roundsMax else { return }
    let round = Array(open.prefix(Self.roundLeasesMax))
    open.removeFirst(round.count)
    roundsUnderWay += 1
    let (loop, shared) = (loop, loop.shared)
    Task {
      let outcomes = await shared.renewAtLeader(round.map(\.lease))
      loop.eventLoop.execute { self.endRound(round, outcomes) }
    }
    if !open.isEmpty { startRound() }
  }

  private func endRound(_ round: [Waiting], _ outcomes: Result<[LeaseRenewal], RequestError>) {
    roundsUnderWay -= 1
    for (place, waiting) in round.enumerated() {
      guard streams[waiting.call] != nil else { continue }
      streams[waiting.call]?.waiting -= 1
      // Nobody says when an idle stream is over.
      if let stream = streams[waiting.call], stream.waiting == 0 && !stream.isEnded {
        forget(waiting.call)
      }
      guard let call = loop.calls.call(waiting.call) else {
        forget(waiting.call)
        continue
      }
      switch outcomes {
      case .success(let renewals) where place < renewals.count:
        answered(waiting.lease, renewals[place], call)
      case .success:
        call.finish(RPCStatus(.timeout))
      case .failure(let error):
        forget(waiting.call)
        call.finish(RPCStatus(error))
      }
    }
    loop.calls.flush()
    startRound()
  }

  func isWaiting(_ call: CallID) -> Bool { streams[call].map { $0.waiting > 0 } ?? false }

  func noteEnd(_ call: CallID) {
    streams[call, default: Stream()].isEnded = true
  }

  func hasEnded(_ call: CallID) -> Bool { !streams.isEmpty && streams[call]?.isEnded == true }

  /// The call is over.
  func forget(_ call: CallID) {
    streams[call] = nil
  }

  /// Whether there is room for another question to the leader.
  func beginQuestion() -> Bool {
    guard questions < Self.questionsMax else { return false }
    questions += 1
    return true
  }

  func endQuestion() {
    questions -= 1
  }
}
