/// A database file of bbolt, which etcd keeps its store in.
package enum BoltFile {}
