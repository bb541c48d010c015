// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "vhost/testing/attacks.h"

namespace pinhole::vhost::testing {
namespace {

using vsock::Op;
using vsock::PacketHeader;
using Until = HostileDriver::Clock::time_point;
constexpr std::uint32_t kMaxData = HostileDriver::kMaxData;

bool time_left(Until until) { return HostileDriver::Clock::now() < until; }

void wrong_lengths(HostileDriver& driver, Until) {
  driver.start();
  std::uint32_t port = 100;
  for (const std::uint32_t len :
       {1U, kMaxData + 1, 65'536U, 65'537U, 0x7fff'ffffU, 0xffff'ffd3U, 0xffff'ffffU}) {
    driver.connect(++port);
    PacketHeader header = driver.header(Op::rw, port);
    header.len = len;
    driver.send(header, len == 1 ? 0 : kMaxData);
    // And a length where none belongs.
    PacketHeader request = driver.header(Op::request, ++port);
    request.len = len;
    driver.send(request);
  }
  driver.settle();
}

void forged_addresses(HostileDriver& driver, Until) {
  driver.start();
  constexpr std::uint64_t kIds[] = {0,
                                    1,
                                    2,
                                    3,
                                    4,
                                    0xffff'ffff,
                                    std::uint64_t{1} << 32 | 3,
                                    std::uint64_t{1} << 63,
                                    ~std::uint64_t{0}};
  constexpr std::uint32_t kPorts[] = {0, 1, 440, 441, 442, 1U << 30, 0xffff'ffff};
  for (const std::uint64_t from : kIds) {
    for (const std::uint64_t to : kIds) {
      PacketHeader header = driver.header(Op::request, 9, 9);
      header.src_cid = from;
      header.dst_cid = to;
      driver.send(header);
    }
  }
  for (const std::uint32_t from : kPorts) {
    for (const std::uint32_t to : kPorts) {
      driver.send(driver.header(Op::request, from, to));
      driver.send(driver.header(Op::rst, from, to));
    }
  }
  driver.settle();
}

void unknown_operations(HostileDriver& driver, Until) {
  driver.start();
  driver.connect(50);
  for (const int type : {0, 1, 2, 3, 0xffff}) {
    for (const int op : {0, 2, 4, 6, 7, 8, 9, 255, 256, 0xffff}) {
      for (const std::uint32_t port : {50U, 51U}) {
        PacketHeader header = driver.header(Op::invalid, port);
        header.type = static_cast<std::uint16_t>(type);
        header.op = static_cast<std::uint16_t>(op);
        header.flags = driver.random(0xffff'ffff);
        driver.send(header);
      }
      driver.connect(50);
    }
  }
  driver.settle();
}

void request_flood(HostileDriver& driver, Until until) {
  driver.start();
  for (std::uint32_t port = 1000; time_left(until); ++port) {
    const std::uint32_t to = port % 8 == 0 ? 442 : port % 8 == 1 ? 9 : HostileDriver::kDoor;
    driver.send(driver.header(Op::request, port, to));
    driver.receive();
  }
}

void open_and_reset(HostileDriver& driver, Until until) {
  driver.start();
  for (std::uint32_t port = 1000; time_left(until); ++port) {
    driver.send(driver.header(Op::request, port));
    driver.send(driver.header(Op::rst, port));
    driver.receive();
  }
}

void reset_storm(HostileDriver& driver, Until until) {
  driver.start();
  driver.connect(60);
  while (time_left(until)) {
    driver.send(driver.header(Op::rst, driver.random(100)));
    driver.send(driver.header(Op::shutdown, driver.random(100)));
    driver.receive();
  }
}

void answers_not_taken(HostileDriver& driver, Until until) {
  driver.start();
  driver.refill = false;
  for (std::uint32_t port = 1; time_left(until); ++port) {
    driver.send(driver.header(port % 2 == 0 ? Op::rw : Op::request, port, 9));
  }
}

void data_without_credit(HostileDriver& driver, Until until) {
  driver.start();
  for (std::uint32_t port = 2000; time_left(until); ++port) {
    driver.connect(port);
    PacketHeader header = driver.header(Op::rw, port);
    header.len = kMaxData;
    // Far past any window, whatever is said back.
    for (int i = 0; i < 600 && time_left(until); ++i) driver.send(header, kMaxData);
  }
}

void data_for_nobody(HostileDriver& driver, Until until) {
  driver.start();
  while (time_left(until)) {
    PacketHeader header = driver.header(Op::rw, driver.random(1000), driver.random(1000));
    header.len = kMaxData;
    driver.send(header, kMaxData);
    driver.receive();
  }
}

void credit_lies(HostileDriver& driver, Until until) {
  driver.start();
  for (std::uint32_t port = 3000; time_left(until); ++port) {
    driver.connect(port);
    // Something to answer, so that there is something to hold back.
    PacketHeader data = driver.header(Op::rw, port);
    data.len = 16;
    driver.send(data, 16);
    for (int i = 0; i < 40 && time_left(until); ++i) {
      PacketHeader lie = driver.header(i % 2 == 0 ? Op::credit_update : Op::credit_request, port);
      lie.buf_alloc = driver.random(3) == 0 ? 0 : driver.random(0xffff'ffff);
      lie.fwd_cnt = driver.random(2) == 0 ? driver.random(0xffff'ffff) : 0xffff'ffff;
      driver.send(lie);
      driver.receive();
    }
  }
}

void streams_left_half_done(HostileDriver& driver, Until until) {
  driver.start();
  for (std::uint32_t port = 4000; time_left(until); ++port) {
    driver.send(driver.header(Op::request, port));
    PacketHeader end = driver.header(Op::shutdown, port);
    end.flags = driver.random(8);
    driver.send(end);
    if (driver.random(2) == 0) driver.send(driver.header(Op::request, port));
    driver.receive();
  }
}

void random_packets(HostileDriver& driver, Until until) {
  driver.start();
  while (time_left(until)) {
    PacketHeader header = driver.header(Op::invalid, driver.random(6));
    header.op = static_cast<std::uint16_t>(driver.random(9));
    header.flags = driver.random(8);
    header.buf_alloc = driver.random(2) == 0 ? 65'536 : driver.random(0xffff'ffff);
    header.fwd_cnt = driver.random(4) == 0 ? driver.random(0xffff'ffff) : 0;
    if (driver.random(8) == 0) header.dst_port = driver.random(500);
    if (driver.random(16) == 0) header.type = static_cast<std::uint16_t>(driver.random(4));
    const std::uint32_t data = driver.random(2) == 0 ? driver.random(kMaxData) : 0;
    header.len = driver.random(8) == 0 ? driver.random(0xffff'ffff) : data;
    driver.send(header, data);
    driver.receive();
    if (driver.random(4000) == 0) driver.start();
  }
}

constexpr auto kAttacks = std::to_array<Attack>({
    {"wrong-lengths", "headers that promise more than their buffer holds", wrong_lengths},
    {"forged-addresses", "packets from and to other machines and any port", forged_addresses},
    {"unknown-operations", "operations and types that do not exist, or not here",
     unknown_operations},
    {"request-flood", "connections opened without end and never closed", request_flood},
    {"open-and-reset", "connections opened and reset without end", open_and_reset},
    {"rst-storm", "RST and SHUTDOWN without end", reset_storm},
    {"answers-not-taken", "packets that want an answer, and no buffer for it", answers_not_taken},
    {"data-without-credit", "data past every window", data_without_credit},
    {"data-for-nobody", "data of connections that do not exist", data_for_nobody},
    {"credit-lies", "buffers of no bytes or 4 GiB, counts that go backwards", credit_lies},
    {"half-done-streams", "streams that are ended while they begin", streams_left_half_done},
    {"random-packets", "random packets that mostly make sense", random_packets},
});

}  // namespace

std::span<const Attack> packet_attacks() { return kAttacks; }

}  // namespace pinhole::vhost::testing
