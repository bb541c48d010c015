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
#include "wire/frame.h"
#include "wire/hello.h"

namespace pinhole::wire {

inline constexpr std::size_t kArguments = 1024;
inline constexpr std::size_t kEnvironment = 1024;
inline constexpr std::size_t kArgumentBytes = 32 * 1024;
inline constexpr std::size_t kPathBytes = 4096;
inline constexpr std::size_t kLimits = 16;
inline constexpr std::size_t kProbes = 32;
inline constexpr std::size_t kEvidenceBytes = 4 * 1024;
inline constexpr std::size_t kProbeCids = 8;
inline constexpr std::size_t kProbePorts = 64;
inline constexpr std::uint64_t kProbeTimeoutMs = 30'000;

// Requests.

/// A resource limit by its name in ulimits of other tools: "nofile", "nproc", "as", "fsize", "cpu",
/// "core", "memlock", "stack". Soft and hard.
struct Limit {
  std::string name;
  std::uint64_t value = 0;
  bool operator==(const Limit&) const = default;
};

/// Runs a program in a session of its own. stdin, stdout and stderr travel in frames beside. When
/// the connection ends before the program, its whole process group is killed.
struct ExecRequest {
  std::vector<std::string> argv;  // UTF-8 without NUL; argv[0] is looked up in PATH
  /// NAME=value, on top of the guest's own: its /etc/environment, a PATH, and HOME, USER, LOGNAME and
  /// SHELL of the user with that uid.
  std::vector<std::string> env = {};
  std::string cwd = "/";
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  /// A terminal of this size for all three streams: what comes from it is stdout_data, `resize`
  /// frames change it, and the program's session has it as its controlling terminal.
  std::optional<WindowSize> terminal = {};
  std::vector<Limit> limits = {};
  bool operator==(const ExecRequest&) const = default;
};
/// The agent sends a file or folder as a tar (pax, uncompressed) in stdout_data frames: `path`'s own
/// name is the archive's top. Links are sent as links. The reply is a FilesReply.
struct ReadFilesRequest {
  std::string path;  // absolute
  bool operator==(const ReadFilesRequest&) const = default;
};
/// The host sends a tar in stdin_data frames and stdin_eof; its top is called `name`. If `path` is a
/// folder it is unpacked there, else its top gets the name of `path`, whose parent must exist. Never
/// leaves that folder, whatever the archive says. Owners and times are the archive's.
struct WriteFilesRequest {
  std::string path;  // absolute
  std::string name;  // one component
  bool operator==(const WriteFilesRequest&) const = default;
};
/// A TCP connection to the guest's own loopback. stdin_data and stdin_eof go to it (with a window, as
/// an exec's), stdout_data and stdout_eof come from it; the reply comes when both ways have ended.
struct DialRequest {
  std::uint16_t port = 0;
  bool operator==(const DialRequest&) const = default;
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
/// A TCP connect from the guest itself, past every proxy, and a request for nothing. ok: it did not
/// connect, or (where connections are captured) got the door's refusal or no byte at all.
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

using Request = std::variant<ExecRequest, StatusRequest, ProbeRequest, ShutdownRequest,
                             ReadFilesRequest, WriteFilesRequest, DialRequest>;

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

/// The files have arrived, or have all been sent.
struct FilesReply {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;  // of their contents
  bool operator==(const FilesReply&) const = default;
};
struct DialReply {
  bool operator==(const DialReply&) const = default;
};
struct ShutdownReply {
  bool operator==(const ShutdownReply&) const = default;
};

/// The operation was not done. Codes: "not_found" and "not_executable" (exec's program; 127 and
/// 126), "not_found" (a file), "refused" (dial), "bad_request", "busy", "failed".
struct ErrorReply {
  std::string code;
  std::string message;
  bool operator==(const ErrorReply&) const = default;
};

using Reply = std::variant<ExecReply, StatusReply, ProbeReply, ShutdownReply, FilesReply, DialReply,
                           ErrorReply>;

/// Whether a reply of this kind belongs to the request; an ErrorReply belongs to every one.
bool answers(const Reply& reply, const Request& request);

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
