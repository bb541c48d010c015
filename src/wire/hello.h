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
inline constexpr std::size_t kMounts = 8;
inline constexpr std::size_t kPorts = 256;
inline constexpr std::size_t kAuthorityBytes = 4 * 1024;
inline constexpr std::size_t kMountPathBytes = 256;
/// 32 bytes as hexadecimal.
inline constexpr std::size_t kEntropyDigits = 64;
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

/// In the detail of stage cloud-init, before what `cloud-init schema` refuses and before the units that failed.
inline constexpr std::string_view kSchemaErrors = "; schema: ";
inline constexpr std::string_view kFailedUnits = "; failed units: ";

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
  std::optional<std::uint64_t> disk_free = {};     // bytes of the root file system
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

/// A folder of the host, shared under a virtiofs tag.
struct Mount {
  std::string tag;
  std::string path;  // absolute, in the guest
  bool read_only = false;
  bool operator==(const Mount&) const = default;
};

/// Who works in the guest: made where it is missing, with a home and passwordless sudo.
struct User {
  std::string name;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  bool operator==(const User&) const = default;
};

/// What an agent that is the guest's first process makes of the machine. Elsewhere systemd and
/// cloud-init do these things, and the agent leaves them alone.
struct Machine {
  std::string hostname;
  std::optional<User> user = {};
  bool operator==(const Machine&) const = default;
};

/// Ports on which connections to any address are carried to the door, by name.
struct Capture {
  std::vector<std::uint16_t> ports;
  bool operator==(const Capture&) const = default;
};

struct Welcome {
  std::string nonce;        // this boot's; letters, digits, '.', '_', '-' (it names a file)
  std::string instance_id;  // what cloud-init must report; empty: not checked
  bool workspace = false;   // /workspace should be mounted: check it
  bool markers = false;     // write the markers into /workspace too
  /// To be mounted in this order. A machine with systemd mounts /workspace itself, to write to: it is
  /// named here where it is to be read only. Not written where there are none: an image's agent may be
  /// older than they are.
  std::vector<Mount> mounts = {};
  std::vector<FetchTask> fetches = {};
  std::uint64_t heartbeat_ms = kHeartbeatMs;  // 50 … 60000
  std::optional<Machine> machine = {};
  std::optional<Capture> capture = {};  // nothing: programs are left to their proxy variables
  std::string authority = {};           // a PEM certificate that the guest's programs are to trust
  std::uint64_t time_ms = 0;            // the host's clock, since 1970; 0: not told
  std::string entropy = {};             // of the host's generator, for the guest's; hexadecimal
  bool operator==(const Welcome&) const = default;
};

struct HeartbeatAck {
  std::uint64_t seq = 0;
  // As in the welcome: a guest that was suspended has the wrong time and a generator that a copy of
  // it may share.
  std::uint64_t time_ms = 0;
  std::string entropy = {};
  bool operator==(const HeartbeatAck&) const = default;
};

/// The ports of a policy that took the place of the welcome's; only where there is capture.
struct Ports {
  std::vector<std::uint16_t> ports;
  bool operator==(const Ports&) const = default;
};

using HostMessage = std::variant<Welcome, HeartbeatAck, Ports>;

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
