/// Why the store refuses a request. The server maps each case to a status and a text.
package enum StoreError: Error, Equatable, Sendable {
  /// A request or compare without a key.
  case keyNotProvided
  /// `ignore_value` or `ignore_lease` on a key that does not exist, or an operation that is none.
  case keyNotFound
  /// `ignore_value` together with a value.
  case valueProvided
  /// `ignore_lease` together with a lease.
  case leaseProvided
  /// The lease of a put is not known.
  case leaseNotFound
  /// More compares or operations than a txn may have.
  case tooManyOperations
  /// A txn that puts a key twice, or puts and deletes it.
  case duplicateKey
  /// A sort order or target outside its enum.
  case invalidSortOption
  /// The revision asked for has been compacted.
  case compacted
  /// The revision asked for has not been made yet.
  case futureRevision
  /// The quota is used up.
  case noSpace
  /// What is stored does not read back.
  case corrupt
}
