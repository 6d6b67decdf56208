/// A proxy of the v3 API in front of members.
package enum GRPCProxy {}
