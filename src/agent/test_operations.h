// SPDX-License-Identifier: Apache-2.0
// For this module's tests: the agent's operations on a unix socket, and a host that asks for them.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include <gtest/gtest.h>

#include "agent/operations.h"
#include "agent/test_host.h"
#include "wire/frame.h"
#include "wire/operation.h"

namespace pinhole::agent {

using wire::FrameType;

struct OperationsTest : testing::Test {
  sys::TempDir dir = sys::TempDir::make().value();
  std::string socket = (dir.path() / "operations").string();
  std::shared_ptr<Settings> settings;
  std::unique_ptr<Loop> loop;

  OperationsTest() : OperationsTest(Settings()) {}
  explicit OperationsTest(Settings given) : settings(std::make_shared<Settings>(std::move(given))) {
    settings->operations = UnixPath{socket};
    settings->door = UnixPath{(dir.path() / "door").string()};
    settings->run_dir = dir.path();
    settings->root = dir.path() / "root";
    settings->may_power_off = false;
    std::vector<asio::awaitable<void>> services;
    services.push_back(run_operations(settings));
    loop = std::make_unique<Loop>(std::move(services));
  }
  Peer connect() { return Peer(sys::connect_unix(socket).value()); }
  Peer ask(const wire::Request& request) {
    Peer peer = connect();
    peer.send(wire::encode_frame(FrameType::request, wire::serialise(request).value()));
    return peer;
  }
  static wire::ExecRequest sh(const std::string& script) {
    return {.argv = {"sh", "-c", script},
            .env = {"PATH=/usr/bin:/bin"},
            .uid = ::getuid(),
            .gid = ::getgid()};
  }
};

/// The rest of an operation, as the host sees it.
struct Outcome {
  std::map<FrameType, std::string> streams;
  std::map<FrameType, std::uint64_t> bytes;
  std::optional<wire::Reply> reply;
};

/// `keep`: whether the streams' bytes are wanted, or only their number. `frames`: with what was read
/// and not used so far.
inline Outcome finish(Peer& peer, bool keep = true, wire::FrameReader frames = {}) {
  Outcome outcome;
  for (;;) {
    auto frame = frames.next();
    if (!frame) return outcome;
    if (!*frame) {
      const std::string piece = peer.receive();
      if (piece.empty()) return outcome;
      frames.add(piece);
      continue;
    }
    const auto& [type, payload] = **frame;
    if (type == FrameType::reply) {
      auto reply = wire::parse_reply(payload);
      EXPECT_TRUE(reply) << reply.error().message;
      if (reply) outcome.reply = std::move(*reply);
      return outcome;
    }
    outcome.bytes[type] += payload.size();
    if (keep) outcome.streams[type] += payload;
  }
}

/// Reads until `wanted` has come on stdout, which may hold more by then. Fails at the end.
inline std::string read_until(Peer& peer, wire::FrameReader& frames, std::string_view wanted) {
  std::string seen;
  while (seen.find(wanted) == std::string::npos) {
    auto frame = frames.next();
    if (!frame) return seen + "(lost framing)";
    if (*frame) {
      if ((*frame)->type == FrameType::stdout_data) seen += (*frame)->payload;
      if ((*frame)->type == FrameType::reply) return seen + "(reply)";
      continue;
    }
    const std::string piece = peer.receive();
    if (piece.empty()) return seen + "(end)";
    frames.add(piece);
  }
  return seen;
}

}  // namespace pinhole::agent
