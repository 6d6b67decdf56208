package import Base

/// One change that a batch made, for those who watch.
package struct AppliedChange {
  package let revision: ChangeRevision
  package let isTombstone: Bool
  /// The encoded `mvccpb.KeyValue` as stored; of a tombstone, the key alone. Memory of the
  /// memtable: valid until the apply thread's next `seal`, so copy what must stay.
  package let encoded: UnsafeRawBufferPointer
}
