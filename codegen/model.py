"""The .proto files as the emitters see them: names in Swift and C worked out, comments attached."""

from google.protobuf import descriptor_pb2

Field = descriptor_pb2.FieldDescriptorProto

KINDS = {
    Field.TYPE_INT32: 'int32', Field.TYPE_INT64: 'int64', Field.TYPE_UINT32: 'uint32',
    Field.TYPE_UINT64: 'uint64', Field.TYPE_BOOL: 'bool', Field.TYPE_ENUM: 'enum',
    Field.TYPE_STRING: 'string', Field.TYPE_BYTES: 'bytes', Field.TYPE_MESSAGE: 'message',
}
SCALARS = {'int32': 'Int32', 'int64': 'Int64', 'uint32': 'UInt32', 'uint64': 'UInt64'}

# What a C compiler would take for something else; protoc-c appends an underscore.
C_KEYWORDS = set('''and and_eq asm auto bitand bitor bool break case catch char class compl const
const_cast continue default delete do double dynamic_cast else enum explicit extern false float for
friend goto if inline int long mutable namespace new not not_eq operator or or_eq private protected
public register reinterpret_cast return short signed sizeof static static_cast struct switch template
this throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t while
xor xor_eq'''.split())
SWIFT_KEYWORDS = set('''as break case catch class continue default defer do else enum extension
fallthrough false for func guard if import in init internal is let nil operator private protocol
public repeat rethrows return self static struct subscript super switch throw throws true try
typealias var where while'''.split())
ACRONYMS = {'id': 'ID', 'ttl': 'TTL', 'kv': 'KV', 'kvs': 'KVs', 'url': 'URL', 'urls': 'URLs'}


def capitalized(word):
    return word[:1].upper() + word[1:]


def lower_camel(name):
    """range_end -> rangeEnd, ID -> id, member_ID -> memberID, HashKV -> hashKV, KVs -> kvs."""
    parts = [p for p in name.split('_') if p]
    first = parts[0]
    first = first.lower() if first.isupper() else first[:1].lower() + first[1:]
    rest = [ACRONYMS.get(p.lower(), capitalized(p.lower() if p.isupper() else p)) for p in parts[1:]]
    return first + ''.join(rest)


def identifier(name):
    return f'`{name}`' if name in SWIFT_KEYWORDS else name


def namespace(package):
    return ''.join(capitalized(p) for p in package.split('.'))


def c_type(full_name):
    return '__'.join(''.join(capitalized(p) for p in piece.split('_'))
                     for piece in full_name.split('.'))


def c_descriptor(full_name):
    """Etcdserverpb.PutRequest -> etcdserverpb__put_request__descriptor."""
    def lowered(piece):
        out = ''
        previous_upper = True
        for char in piece:
            if char.isupper() and not previous_upper:
                out += '_'
            previous_upper = char.isupper()
            out += char.lower()
        return out
    return '__'.join(lowered(p) for p in full_name.split('.')) + '__descriptor'


def comment_of(file, path):
    for location in file.source_code_info.location:
        if list(location.path) == path:
            return [line.strip() for line in location.leading_comments.strip().splitlines()]
    return []


class Enum:
    def __init__(self, file, proto, full_name, swift_outer, path):
        self.full_name = full_name
        # `X.Type` means something else in Swift.
        self.name = 'Kind' if proto.name == 'Type' else proto.name
        self.swift = f'{swift_outer}.{self.name}'
        self.c = c_type(full_name)
        self.comment = comment_of(file, path)
        self.values = [(v.name, identifier(lower_camel(v.name)), v.number) for v in proto.value]
        assert self.values[0][2] == 0 and all(v[2] >= 0 for v in self.values), full_name


class MessageField:
    def __init__(self, file, proto, path):
        self.proto = proto
        self.name = proto.name
        self.number = proto.number
        self.json_name = proto.json_name
        assert proto.type in KINDS, f'{proto.name}: no support for this field type yet'
        self.kind = KINDS[proto.type]
        self.repeated = proto.label == Field.LABEL_REPEATED
        assert not (self.repeated and self.kind == 'bool'), 'protobuf-c is odd about these'
        assert not proto.proto3_optional
        self.oneof_index = proto.oneof_index if proto.HasField('oneof_index') else None
        self.type_name = proto.type_name.lstrip('.')
        self.swift = identifier(lower_camel(proto.name))
        self.c = proto.name.lower() + ('_' if proto.name.lower() in C_KEYWORDS else '')
        self.comment = comment_of(file, path)
        self.type = None  # Message or Enum, set by Model


class Message:
    def __init__(self, file, proto, package, path):
        self.full_name = f'{package}.{proto.name}'
        self.name = proto.name
        self.swift = f'{namespace(package)}.{proto.name}'
        self.c = c_type(self.full_name)
        self.descriptor = c_descriptor(self.full_name)
        self.comment = comment_of(file, path)
        assert not proto.nested_type, 'no nested messages yet'
        self.fields = [MessageField(file, f, path + [2, i]) for i, f in enumerate(proto.field)]
        self.by_number = sorted(self.fields, key=lambda f: f.number)
        self.oneofs = [o.name for o in proto.oneof_decl]
        assert len(self.fields) <= 64 and len(self.oneofs) <= 8, 'bounds of Sources/CProto'
        self.enums = [Enum(file, e, f'{self.full_name}.{e.name}', self.swift, path + [4, i])
                      for i, e in enumerate(proto.enum_type)]
        self.position = None

    def members(self, oneof_index):
        return [f for f in self.fields if f.oneof_index == oneof_index]


class Method:
    def __init__(self, proto, service, routes):
        self.name = proto.name
        self.swift = identifier(lower_camel(proto.name))
        self.path = f'/{service}/{proto.name}'
        self.request_type = proto.input_type.lstrip('.')
        self.response_type = proto.output_type.lstrip('.')
        self.client_streaming = proto.client_streaming
        self.server_streaming = proto.server_streaming
        self.routes = routes.pop(f'{service}/{proto.name}', [])
        self.request = self.response = None  # Message, set by Model


class Service:
    def __init__(self, file, proto, package, path, routes):
        self.full_name = f'{package}.{proto.name}'
        self.name = proto.name + ('V1alpha' if package.endswith('.v1alpha') else '')
        self.comment = comment_of(file, path)
        self.methods = [Method(m, self.full_name, routes) for m in proto.method]


class File:
    def __init__(self, proto, routes):
        self.proto = proto
        self.name = proto.name
        self.package = proto.package
        self.namespace = namespace(proto.package)
        assert proto.syntax == 'proto3'
        self.comment = comment_of(proto, [12]) or []
        self.enums = [Enum(proto, e, f'{proto.package}.{e.name}', self.namespace, [5, i])
                      for i, e in enumerate(proto.enum_type)]
        self.messages = [Message(proto, m, proto.package, [4, i])
                         for i, m in enumerate(proto.message_type)]
        self.services = [Service(proto, s, proto.package, [6, i], routes)
                         for i, s in enumerate(proto.service)]

    @property
    def swift_file(self):
        """rpc.proto -> Rpc.swift, grpc/health/v1/health.proto -> GrpcHealthV1.swift."""
        if '/' in self.name:
            return self.namespace + '.swift'
        return ''.join(capitalized(p) for p in self.name.removesuffix('.proto').split('_')) + '.swift'


class Model:
    def __init__(self, descriptor_set, routes):
        self.files = [File(f, routes) for f in descriptor_set.file]
        assert not routes, f'routes of unknown methods: {routes}'
        self.messages = sorted((m for f in self.files for m in f.messages),
                               key=lambda m: m.full_name.encode())
        types = {m.full_name: m for m in self.messages}
        for position, message in enumerate(self.messages):
            message.position = position
        for file in self.files:
            for enum in file.enums + [e for m in file.messages for e in m.enums]:
                types[enum.full_name] = enum
        for message in self.messages:
            for field in message.fields:
                field.type = types.get(field.type_name)
        for service in self.services:
            for method in service.methods:
                method.request = types[method.request_type]
                method.response = types[method.response_type]

    @property
    def services(self):
        return [s for f in self.files for s in f.services]


def read_routes(path):
    routes = {}
    for line in open(path, encoding='utf-8'):
        if line.strip() and not line.startswith('#'):
            method, route = line.rstrip('\n').split('\t')
            routes.setdefault(method, []).append(route)
    return routes
