"""Rewrites a FileDescriptorSet for protoc-c.

usage: prepare.py <in> <out>

Strings become length and pointer instead of C strings, so that a NUL byte in one does no harm and
nothing is measured twice; repeated numbers are packed, as proto3 has it; no code for services, no
helpers for packing, no comments.
"""

import sys

from google.protobuf import descriptor_pb2

# Options of protobuf-c.proto, encoded, since that file is not among ours: field 1019 of
# FileOptions { gen_pack_helpers: false } and of FieldOptions { string_as_bytes: true }.
NO_PACK_HELPERS = b'\xda\x3f\x02\x10\x00'
STRING_AS_BYTES = b'\xda\x3f\x02\x08\x01'


def prepare(message):
    for field in message.field:
        if field.type == field.TYPE_STRING:
            field.options.MergeFromString(STRING_AS_BYTES)
        elif field.label == field.LABEL_REPEATED and field.type not in (
                field.TYPE_BYTES, field.TYPE_MESSAGE):
            field.options.packed = True


def main():
    descriptors = descriptor_pb2.FileDescriptorSet()
    with open(sys.argv[1], 'rb') as source:
        descriptors.ParseFromString(source.read())
    for file in descriptors.file:
        file.ClearField('source_code_info')
        file.ClearField('service')
        file.options.MergeFromString(NO_PACK_HELPERS)
        for message in file.message_type:
            prepare(message)
    with open(sys.argv[2], 'wb') as target:
        target.write(descriptors.SerializeToString(deterministic=True))


main()
