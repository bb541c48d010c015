// SPDX-License-Identifier: Apache-2.0
// Port 441: what the host asks of the agent, one request and one reply per connection, as JSON in
// the frames of wire/frame.h. Requests: {"v":1,"op":"exec",…}; replies carry the same "op", or
// "error".
//
// A reply is the guest's claim. The host parses it as hostile (bounded, strict) and judges it by
// what it knows itself; nothing in a reply may be printed but through printable().
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.h"
#include "wire/hello.h"

namespace pinhole::wire {

inline constexpr std::size_t kArguments = 1024;
inline constexpr std::size_t kEnvironment = 1024;
inline constexpr std::size_t kArgumentBytes = 32 * 1024;
inline constexpr std::size_t kPathBytes = 4096;
inline constexpr std::size_t kProbes = 32;
inline constexpr std::size_t kEvidenceBytes = 4 * 1024;
inline constexpr std::size_t kProbeCids = 8;
inline constexpr std::size_t kProbePorts = 64;
inline constexpr std::uint64_t kProbeTimeoutMs = 30'000;

// Requests.

/// Runs a program in a session of its own. stdin, stdout and stderr travel in frames beside.
struct ExecRequest {
  std::vector<std::string> argv;      // UTF-8 without NUL; argv[0] is looked up in env's PATH
  std::vector<std::string> env = {};  // NAME=value; all that the program gets
  std::string cwd = "/";
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  bool operator==(const ExecRequest&) const = default;
};
struct StatusRequest {
  bool operator==(const StatusRequest&) const = default;
};
struct ShutdownRequest {
  bool operator==(const ShutdownRequest&) const = default;
};

/// All interfaces with their addresses. ok: nothing but lo.
struct InterfacesProbe {
  bool operator==(const InterfacesProbe&) const = default;
};
/// A TCP connect from the guest itself, past every proxy. ok: it did not connect.
struct ConnectProbe {
  std::string address;  // an IPv4 or IPv6 literal
  std::uint16_t port = 0;
  std::uint64_t timeout_ms = 2000;
  bool operator==(const ConnectProbe&) const = default;
};
/// One datagram, and a wait for an answer. ok: none came.
struct UdpProbe {
  std::string address;
  std::uint16_t port = 0;
  std::uint64_t timeout_ms = 2000;
  bool operator==(const UdpProbe&) const = default;
};
/// Every port on every CID. ok: what connects is CID 2's kDoorPort and kHelloPort at most. A
/// probe's connection to kHelloPort says nothing and goes away: the host must bear that.
struct VsockProbe {
  std::vector<std::uint32_t> cids;
  std::vector<std::uint32_t> ports;
  std::uint64_t timeout_ms = 2000;  // for each
  bool operator==(const VsockProbe&) const = default;
};
/// A request through the door. ok: an HTTP answer arrived whole, whatever its status; see
/// ProbeResult::fetch.
struct FetchProbe {
  FetchTask task;
  bool operator==(const FetchProbe&) const = default;
};
/// evidence: the content of the guest's boot-ok.txt.
struct MarkerProbe {
  bool operator==(const MarkerProbe&) const = default;
};
/// evidence: kernel, uid, first process, mounts of the workspace, routes.
struct EnvProbe {
  bool operator==(const EnvProbe&) const = default;
};
using Probe = std::variant<InterfacesProbe, ConnectProbe, UdpProbe, VsockProbe, FetchProbe,
                           MarkerProbe, EnvProbe>;

struct ProbeRequest {
  std::vector<Probe> probes;
  bool operator==(const ProbeRequest&) const = default;
};

using Request = std::variant<ExecRequest, StatusRequest, ProbeRequest, ShutdownRequest>;

// Replies.

/// How the program ended: one of the two.
struct ExecReply {
  std::optional<int> exit = {};
  std::optional<int> signal = {};
  bool operator==(const ExecReply&) const = default;
};

struct StatusReply {
  std::uint64_t uptime_ms = 0;
  std::string boot_id;
  std::string agent_version;
  std::string cloud_init;   // "absent", "running", "done", "error", "disabled"
  std::string instance_id;  // cloud-init's, as far as it is known in this boot
  std::string detail;       // cloud-init's errors; one line
  bool operator==(const StatusReply&) const = default;
};

/// What a fetch through the door brought.
struct FetchOutcome {
  std::uint64_t status = 0;
  std::uint64_t bytes = 0;
  std::string sha256;     // of the body, as hexadecimal
  std::string code = {};  // from a problem body (RFC 9457), where there was one
  std::string rule = {};
  bool operator==(const FetchOutcome&) const = default;
};

struct ProbeResult {
  std::string name;  // "connect 93.184.216.34:80"
  bool ok = false;
  std::string evidence;  // may have several lines
  std::uint64_t ms = 0;
  std::optional<FetchOutcome> fetch = {};
  bool operator==(const ProbeResult&) const = default;
};
/// One result per probe of the request, in its order. At the end of `kFrameBytes` the rest is left
/// out.
struct ProbeReply {
  std::vector<ProbeResult> results;
  bool operator==(const ProbeReply&) const = default;
};

struct ShutdownReply {
  bool operator==(const ShutdownReply&) const = default;
};

/// The operation was not done. Codes: "not_found" and "not_executable" (exec's program; 127 and
/// 126), "bad_request", "busy", "failed".
struct ErrorReply {
  std::string code;
  std::string message;
  bool operator==(const ErrorReply&) const = default;
};

using Reply = std::variant<ExecReply, StatusReply, ProbeReply, ShutdownReply, ErrorReply>;

/// JSON for a frame's payload. An exec whose arguments do not fit into a frame is an error; so are
/// bytes that JSON cannot carry (not UTF-8).
Result<std::string> serialise(const Request& request);
/// Always fits a frame (see ProbeReply).
std::string serialise(const Reply& reply);

Result<Request> parse_request(std::string_view json);
Result<Reply> parse_reply(std::string_view json);

/// "connect 93.184.216.34:80": the name of a probe's result.
std::string probe_name(const Probe& probe);

}  // namespace pinhole::wire
