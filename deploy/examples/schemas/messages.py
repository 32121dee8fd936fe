"""The messages of order.proto. Where protoc is at hand, it generates them."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Field = descriptor_pb2.FieldDescriptorProto


def _field(name, number, kind, type_name=None, repeated=False):
    label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
    return Field(name=name, number=number, type=kind, type_name=type_name, label=label)


def _message(name, *fields, nested=(), optional=None):
    message = descriptor_pb2.DescriptorProto(name=name, field=fields, nested_type=nested)
    if optional:
        message.oneof_decl.add(name=f"_{optional}")
        field, = (field for field in message.field if field.name == optional)
        field.proto3_optional, field.oneof_index = True, 0
    return message


_LINE = _message(
    "Line", _field("product_name", 1, Field.TYPE_STRING), _field("price", 2, Field.TYPE_DOUBLE)
)
_ORDER = _message(
    "Order",
    _field("id", 1, Field.TYPE_INT64),
    _field("lines", 2, Field.TYPE_MESSAGE, ".shop.Order.Line", repeated=True),
    _field("note", 3, Field.TYPE_STRING),
    nested=[_LINE],
    optional="note",
)
_FILE = descriptor_pb2.FileDescriptorProto(
    name="order.proto",
    package="shop",
    syntax="proto3",
    message_type=[_ORDER, _message("Cancelled", _field("id", 1, Field.TYPE_INT64))],
)
descriptor_pool.Default().AddSerializedFile(_FILE.SerializeToString())


def _class(name):
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))


Cancelled = _class("shop.Cancelled")
Order = _class("shop.Order")
Line = _class("shop.Order.Line")
