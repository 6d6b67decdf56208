import RPC
import Replica

/// Takes the replica's answers to proposals that were made for a message of a stream, where an
/// answer does not end the call.
protocol StreamAnswers: AnyObject {
  /// One answer, in the order of the proposals. Returns whether more are to come.
  func take(_ answer: ReplyQueue.Answer, _ call: ServerCall) -> Bool
}
