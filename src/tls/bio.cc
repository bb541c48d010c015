// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <climits>

#include "base/check.h"
#include "tls/connection.h"

namespace pinhole::tls {
namespace {

Wire& wire_of(BIO* bio) { return *static_cast<Wire*>(BIO_get_data(bio)); }

int read_bio(BIO* bio, char* room, int size) {
  Wire& wire = wire_of(bio);
  BIO_clear_retry_flags(bio);
  if (wire.flooded || wire.broken) return -1;
  if (wire.ended) return 0;
  if (size <= 0) return 0;
  const std::ptrdiff_t count = wire.transport->receive({room, static_cast<std::size_t>(size)});
  if (count > 0) {
    PINHOLE_CHECK(count <= size);
    return static_cast<int>(count);
  }
  if (count == Transport::kWouldBlock) BIO_set_retry_read(bio);
  wire.ended = count == Transport::kEnd;
  wire.broken = count == Transport::kError;
  return wire.ended ? 0 : -1;
}

int write_bio(BIO* bio, const char* bytes, int size) {
  Wire& wire = wire_of(bio);
  BIO_clear_retry_flags(bio);
  if (wire.broken) return -1;
  if (size <= 0) return 0;
  const std::ptrdiff_t count = wire.transport->send({bytes, static_cast<std::size_t>(size)});
  if (count > 0) {
    PINHOLE_CHECK(count <= size);
    return static_cast<int>(count);
  }
  if (count == Transport::kWouldBlock) {
    BIO_set_retry_write(bio);
  } else {
    wire.broken = true;
  }
  return -1;
}

long control_bio(BIO* /*bio*/, int command, long /*number*/, void* /*pointer*/) {
  // Nothing is held back here, so a flush is done at once. Anything else is not supported.
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

const BIO_METHOD* bio_method() {
  // For the life of the process.
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "transport");
    PINHOLE_CHECK(made != nullptr);
    BIO_meth_set_read(made, read_bio);
    BIO_meth_set_write(made, write_bio);
    BIO_meth_set_ctrl(made, control_bio);
    return made;
  }();
  return method;
}

}  // namespace

BioPtr make_bio(Wire& wire) {
  BioPtr bio(BIO_new(bio_method()));
  PINHOLE_CHECK(bio != nullptr);
  BIO_set_data(bio.get(), &wire);
  BIO_set_init(bio.get(), 1);
  return bio;
}

}  // namespace pinhole::tls
