/// A TCP gateway in front of members: bytes in, bytes out.
package enum Gateway {}
