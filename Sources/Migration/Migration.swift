/// From a snapshot of etcd to a data directory of Martlet and back.
package enum Migration {}
