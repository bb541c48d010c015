// SPDX-License-Identifier: Apache-2.0
// Port 442, guest → host: readiness, stages, markers and heartbeat. The agent connects and speaks
// first:
//
//   guest                                        host
//   {"v":1,"type":"hello","boot_id":…}      →
//                                           ←    {"v":1,"type":"welcome","nonce":…}
//   {"v":1,"type":"ready","nonce":…}        →    ready now: a round trip, not a connection
//   stage, marker, heartbeat …              →
//                                           ←    {"v":1,"type":"heartbeat-ack","seq":…}
//
// One JSON object per line, at most 16 KiB. A connection that breaks is made again by the agent,
// which says hello again and then repeats every stage and marker that it had reported: the host
// takes the newest of each name. Neither side trusts the other; the parsers are pure and refuse
// unknown types, keys and newer versions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.h"

namespace pinhole::wire {

inline constexpr std::uint32_t kDoorPort = 440;
inline constexpr std::uint32_t kAgentPort = 441;
inline constexpr std::uint32_t kHelloPort = 442;

/// A line without its newline; LineReader's limit on both sides.
inline constexpr std::size_t kMessageBytes = 16 * 1024;
inline constexpr std::size_t kMarkerBytes = 4 * 1024;
inline constexpr std::size_t kDetailBytes = 1024;
inline constexpr std::size_t kWordBytes = 128;  // boot id, instance id, version, nonce
inline constexpr std::size_t kUrlBytes = 300;   // 8 of them with their results fit in a marker
inline constexpr std::size_t kMethodBytes = 16;
inline constexpr std::size_t kFetches = 8;
inline constexpr std::uint64_t kHeartbeatMs = 5000;

// Guest → host.

struct Hello {
  std::string boot_id;  // the guest's /proc/sys/kernel/random/boot_id
  std::string agent_version;
  std::string instance_id;  // cloud-init's, once it has run in this boot; else empty
  bool operator==(const Hello&) const = default;
};

/// The welcome's nonce, given back.
struct Ready {
  std::string nonce;
  bool operator==(const Ready&) const = default;
};

enum class StageName { agent, cloud_init, workspace, door };

/// One part of the way up has ended. `detail` is one line for people: the cause when not ok.
struct Stage {
  StageName name = StageName::agent;
  bool ok = false;
  std::string detail;
  std::uint64_t ms = 0;  // how long it took
  bool operator==(const Stage&) const = default;
};

enum class MarkerName { boot_ok, vsock_fetch };

/// The content of boot-ok.txt (key=value lines: time, instance_id, boot_id, nonce, agent) or
/// vsock-fetch.out (one line per fetch of the welcome: status=… url=… and bytes, sha256 or code,
/// rule).
struct Marker {
  MarkerName name = MarkerName::boot_ok;
  std::string content;
  bool operator==(const Marker&) const = default;
};

struct Heartbeat {
  std::uint64_t seq = 0;  // counts from 1 on each connection
  std::uint64_t uptime_ms = 0;
  std::optional<std::uint64_t> load_percent = {};  // one-minute load average × 100
  bool operator==(const Heartbeat&) const = default;
};

using GuestMessage = std::variant<Hello, Ready, Stage, Marker, Heartbeat>;

// Host → guest.

/// A canary: what the agent asks for through the door.
struct FetchTask {
  std::string url;
  std::string method = "GET";
  bool operator==(const FetchTask&) const = default;
};

struct Welcome {
  std::string nonce;        // this boot's; letters, digits, '.', '_', '-' (it names a file)
  std::string instance_id;  // what cloud-init must report; empty: not checked
  bool workspace = false;   // /workspace should be mounted: check it
  bool markers = false;     // write the markers into /workspace too
  std::vector<FetchTask> fetches = {};
  std::uint64_t heartbeat_ms = kHeartbeatMs;  // 50 … 60000
  bool operator==(const Welcome&) const = default;
};

struct HeartbeatAck {
  std::uint64_t seq = 0;
  bool operator==(const HeartbeatAck&) const = default;
};

using HostMessage = std::variant<Welcome, HeartbeatAck>;

/// The names as they travel and as people see them: "cloud-init", "boot-ok.txt".
std::string_view stage_text(StageName name);
std::string_view marker_text(MarkerName name);

/// One line, its newline included.
std::string serialise(const GuestMessage& message);
std::string serialise(const HostMessage& message);

/// One line without its newline.
Result<GuestMessage> parse_guest_message(std::string_view line);
Result<HostMessage> parse_host_message(std::string_view line);

}  // namespace pinhole::wire
