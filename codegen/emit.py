"""Writes every generated file that protoc-c does not.

usage: emit.py <FileDescriptorSet with source info> <routes.tsv> <output root>
"""

import pathlib
import sys

from google.protobuf import descriptor_pb2

import emit_c
import emit_messages
import emit_services
from model import Model, read_routes


def main():
    source, routes, top = sys.argv[1:]
    descriptors = descriptor_pb2.FileDescriptorSet()
    descriptors.ParseFromString(pathlib.Path(source).read_bytes())
    model = Model(descriptors, read_routes(routes))

    files = {
        'Sources/CProto/include/CProto.h': emit_c.umbrella(model),
        'Sources/CProto/include/module.modulemap': emit_c.module_map(),
        'Sources/CProto/Generated/tables.c': emit_c.tables(model),
        'Sources/CProto/Generated/reflection.c': emit_c.reflection(model),
        'Sources/Proto/Generated/Namespaces.swift': emit_messages.namespaces(model),
        'Sources/Proto/Generated/MessageTypes.swift': emit_messages.value_types(model),
        'Sources/Proto/Generated/ServiceTables.swift': emit_services.tables(model),
        'Sources/RPC/Generated/Services.swift': emit_services.services(model),
        'Sources/RPC/Generated/Clients.swift': emit_services.clients(model),
    }
    for file in model.files:
        path = f'Sources/Proto/Generated/{file.swift_file}'
        assert path not in files
        files[path] = emit_messages.file(file)
    for path, text in files.items():
        target = pathlib.Path(top, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding='utf-8')


main()
