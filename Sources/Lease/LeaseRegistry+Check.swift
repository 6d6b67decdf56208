import Base

extension LeaseRegistry {
  /// What is wrong with the table, or nil: for tests.
  package func findFault() -> String? {
    withState { state in
      var inHeap = 0
      var keys = 0
      for (slot, record) in state.slots.enumerated() where record.flags.contains(.isGranted) {
        keys += Int(record.keyCount)
        if state.keys.keys(of: record).count != Int(record.keyCount) {
          return "lease \(record.stored.id) does not have \(record.keyCount) keys"
        }
        let isWanted = state.isPrimary && !record.flags.contains(.isExpiring)
        guard record.heapPosition != LeaseRecord.none else {
          if isWanted { return "lease \(record.stored.id) is not in the heap" }
          continue
        }
        inHeap += 1
        let position = Int(record.heapPosition)
        guard isWanted, position < state.heap.entries.count,
          state.heap.entries[position].slot == slot,
          state.heap.entries[position].time <= record.expiry
        else { return "lease \(record.stored.id) is at the wrong place in the heap" }
        if position > 0,
          state.heap.entries[(position - 1) / 2].time > state.heap.entries[position].time
        {
          return "the heap is out of order at \(position)"
        }
      }
      if inHeap != state.heap.entries.count { return "\(inHeap) leases in the heap, not all known" }
      if keys != state.keys.count {
        return "\(keys) keys on leases, \(state.keys.count) in the table"
      }
      return nil
    }
  }
}
