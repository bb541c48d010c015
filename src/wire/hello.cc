// SPDX-License-Identifier: Apache-2.0
#include "wire/hello.h"

#include <array>
#include <limits>
#include <utility>

#include <boost/json/serialize.hpp>

#include "base/printable.h"
#include "wire/fetch_task.h"
#include "wire/object_reader.h"

namespace pinhole::wire {
namespace json = boost::json;
namespace {

constexpr std::uint64_t kAnyNumber = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kShortestHeartbeatMs = 50;
constexpr std::uint64_t kLongestHeartbeatMs = 60'000;
constexpr std::uint64_t kLoadLimit = 1'000'000;
constexpr std::size_t kShownType = 64;
constexpr std::uint64_t kLastPort = 65535;
constexpr std::uint64_t kHighestId = std::numeric_limits<std::uint32_t>::max() - 1;  // -1: "none"
/// The year 2200: what is later is no clock.
constexpr std::uint64_t kLatestTimeMs = std::uint64_t{7'258'118'400} * 1000;

constexpr std::array kStages = {
    std::pair{StageName::agent, std::string_view("agent")},
    std::pair{StageName::cloud_init, std::string_view("cloud-init")},
    std::pair{StageName::workspace, std::string_view("workspace")},
    std::pair{StageName::door, std::string_view("door")},
};
constexpr std::array kMarkers = {
    std::pair{MarkerName::boot_ok, std::string_view("boot-ok.txt")},
    std::pair{MarkerName::vsock_fetch, std::string_view("vsock-fetch.out")},
};

template <typename Name, std::size_t n>
std::string_view text_of(const std::array<std::pair<Name, std::string_view>, n>& table, Name name) {
  for (const auto& [value, text] : table) {
    if (value == name) return text;
  }
  return "?";
}

template <typename Name, std::size_t n>
Name name_from(ObjectReader& reader, const std::array<std::pair<Name, std::string_view>, n>& table,
               std::string_view what) {
  const std::string given = reader.text("name", kWordBytes);
  for (const auto& [value, text] : table) {
    if (text == given) return value;
  }
  reader.refuse("name", fmt::format("is not a {}: \"{}\"", what, printable(given, kShownType)));
  return table.front().first;
}

template <typename Message, typename Variant>
Result<Variant> finished(ObjectReader& reader, Message message) {
  PINHOLE_TRY_VOID(reader.finish());
  return Variant(std::move(message));
}

Result<GuestMessage> read_hello(ObjectReader& reader) {
  Hello message;
  message.boot_id = reader.word("boot_id", kWordBytes);
  message.agent_version = reader.word("agent_version", kWordBytes);
  message.instance_id = reader.word_or_empty("instance_id", kWordBytes);
  return finished<Hello, GuestMessage>(reader, std::move(message));
}

Result<GuestMessage> read_ready(ObjectReader& reader) {
  Ready message{.nonce = reader.identifier("nonce", kWordBytes)};
  return finished<Ready, GuestMessage>(reader, std::move(message));
}

Result<GuestMessage> read_stage(ObjectReader& reader) {
  Stage message;
  message.name = name_from(reader, kStages, "stage");
  message.ok = reader.flag("ok");
  message.detail = reader.text("detail", kDetailBytes);
  message.ms = reader.number("ms", kAnyNumber);
  return finished<Stage, GuestMessage>(reader, std::move(message));
}

Result<GuestMessage> read_marker(ObjectReader& reader) {
  Marker message;
  message.name = name_from(reader, kMarkers, "marker");
  message.content = reader.text("content", kMarkerBytes);
  return finished<Marker, GuestMessage>(reader, std::move(message));
}

Result<GuestMessage> read_heartbeat(ObjectReader& reader) {
  Heartbeat message;
  message.seq = reader.number("seq", kAnyNumber);
  message.uptime_ms = reader.number("uptime_ms", kAnyNumber);
  if (reader.has("load_percent")) message.load_percent = reader.number("load_percent", kLoadLimit);
  if (reader.has("disk_free")) message.disk_free = reader.number("disk_free", kAnyNumber);
  return finished<Heartbeat, GuestMessage>(reader, message);
}

std::vector<std::uint16_t> read_ports(ObjectReader& reader) {
  std::vector<std::uint16_t> ports;
  for (const std::uint64_t port : reader.numbers("ports", kPorts, kLastPort)) {
    if (port == 0) reader.refuse("ports", "holds 0");
    ports.push_back(static_cast<std::uint16_t>(port));
  }
  return ports;
}

Result<Mount> read_mount(const json::object& object) {
  ObjectReader reader("welcome's mount", object);
  Mount mount;
  mount.tag = reader.identifier("tag", kWordBytes);
  mount.path = reader.text("path", kMountPathBytes);
  mount.read_only = reader.flag("read_only");
  if (!mount.path.starts_with('/')) reader.refuse("path", "is not an absolute path");
  PINHOLE_TRY_VOID(reader.finish());
  return mount;
}

Result<User> read_user(const json::object& object) {
  ObjectReader reader("welcome's user", object);
  User user;
  user.name = reader.identifier("name", kWordBytes);
  user.uid = static_cast<std::uint32_t>(reader.number("uid", kHighestId));
  user.gid = static_cast<std::uint32_t>(reader.number("gid", kHighestId));
  PINHOLE_TRY_VOID(reader.finish());
  return user;
}

Result<Machine> read_machine(const json::object& object) {
  ObjectReader reader("welcome's machine", object);
  Machine machine;
  machine.hostname = reader.identifier("hostname", kWordBytes);
  if (reader.has("user")) {
    if (const json::object* user = reader.object("user"); user != nullptr) {
      PINHOLE_TRY(machine.user, read_user(*user));
    }
  }
  PINHOLE_TRY_VOID(reader.finish());
  return machine;
}

Result<Capture> read_capture(const json::object& object) {
  ObjectReader reader("welcome's capture", object);
  Capture capture{.ports = read_ports(reader)};
  PINHOLE_TRY_VOID(reader.finish());
  return capture;
}

void read_clock(ObjectReader& reader, std::uint64_t& time_ms, std::string& entropy) {
  time_ms = reader.number_or("time_ms", kLatestTimeMs, 0);
  entropy = reader.word_or_empty("entropy", kEntropyDigits);
  if (entropy.find_first_not_of("0123456789abcdef") != std::string::npos)
    reader.refuse("entropy", "is not hexadecimal");
}

Result<HostMessage> read_welcome(ObjectReader& reader) {
  Welcome message;
  message.nonce = reader.identifier("nonce", kWordBytes);
  message.instance_id = reader.word_or_empty("instance_id", kWordBytes);
  message.workspace = reader.flag("workspace");
  message.markers = reader.flag("markers");
  message.heartbeat_ms = reader.number_or("heartbeat_ms", kLongestHeartbeatMs, kHeartbeatMs);
  if (message.heartbeat_ms < kShortestHeartbeatMs) {
    reader.refuse("heartbeat_ms", fmt::format("is less than {}", kShortestHeartbeatMs));
  }
  for (const json::object* item : reader.objects("fetches", kFetches)) {
    ObjectReader inner("welcome's fetch", *item);
    FetchTask task = read_fetch_task(inner);
    PINHOLE_TRY_VOID(inner.finish());
    message.fetches.push_back(std::move(task));
  }
  if (reader.has("mounts")) {
    for (const json::object* item : reader.objects("mounts", kMounts)) {
      PINHOLE_TRY(Mount mount, read_mount(*item));
      message.mounts.push_back(std::move(mount));
    }
  }
  if (reader.has("machine")) {
    if (const json::object* machine = reader.object("machine"); machine != nullptr) {
      PINHOLE_TRY(message.machine, read_machine(*machine));
    }
  }
  if (reader.has("capture")) {
    if (const json::object* capture = reader.object("capture"); capture != nullptr) {
      PINHOLE_TRY(message.capture, read_capture(*capture));
    }
  }
  message.authority = reader.text_or_empty("authority", kAuthorityBytes);
  read_clock(reader, message.time_ms, message.entropy);
  return finished<Welcome, HostMessage>(reader, std::move(message));
}

Result<HostMessage> read_heartbeat_ack(ObjectReader& reader) {
  HeartbeatAck message{.seq = reader.number("seq", kAnyNumber)};
  read_clock(reader, message.time_ms, message.entropy);
  return finished<HeartbeatAck, HostMessage>(reader, message);
}

Result<HostMessage> read_ports_message(ObjectReader& reader) {
  Ports message{.ports = read_ports(reader)};
  return finished<Ports, HostMessage>(reader, std::move(message));
}

template <typename Message>
struct Reader {
  std::string_view type;
  Result<Message> (*read)(ObjectReader&);
};
constexpr std::array kGuestReaders = {
    Reader<GuestMessage>{"hello", read_hello},         Reader<GuestMessage>{"ready", read_ready},
    Reader<GuestMessage>{"stage", read_stage},         Reader<GuestMessage>{"marker", read_marker},
    Reader<GuestMessage>{"heartbeat", read_heartbeat},
};
constexpr std::array kHostReaders = {
    Reader<HostMessage>{"welcome", read_welcome},
    Reader<HostMessage>{"heartbeat-ack", read_heartbeat_ack},
    Reader<HostMessage>{"ports", read_ports_message},
};

template <typename Message, std::size_t n>
Result<Message> parse(std::string_view what, std::string_view line,
                      const std::array<Reader<Message>, n>& readers) {
  PINHOLE_TRY(const json::object object, parse_versioned(what, line, kMessageBytes));
  const json::value* type = object.if_contains("type");
  if (type == nullptr || !type->is_string()) return fail("{}: \"type\" is missing", what);
  const std::string_view name = type->get_string();
  for (const Reader<Message>& candidate : readers) {
    if (candidate.type != name) continue;
    ObjectReader reader(fmt::format("{} \"{}\"", what, name), object);
    reader.number("v", kVersion);
    reader.text("type", kWordBytes);
    return candidate.read(reader);
  }
  return fail("{}: unknown type \"{}\"", what, printable(name, kShownType));
}

json::array list(const std::vector<std::uint16_t>& ports) {
  json::array out;
  for (const std::uint16_t port : ports) out.emplace_back(port);
  return out;
}

json::object write_machine(const Machine& m) {
  json::object out = {{"hostname", m.hostname}};
  if (m.user)
    out["user"] = json::object{{"name", m.user->name}, {"uid", m.user->uid}, {"gid", m.user->gid}};
  return out;
}

json::array list(const std::vector<Mount>& mounts) {
  json::array out;
  for (const Mount& mount : mounts) {
    out.push_back(
        json::object{{"tag", mount.tag}, {"path", mount.path}, {"read_only", mount.read_only}});
  }
  return out;
}

void write_clock(json::object& out, std::uint64_t time_ms, const std::string& entropy) {
  if (time_ms != 0) out["time_ms"] = time_ms;
  if (!entropy.empty()) out["entropy"] = entropy;
}

json::object start(std::string_view type) { return {{"v", kVersion}, {"type", type}}; }

struct Writer {
  json::object operator()(const Hello& m) const {
    json::object out = start("hello");
    out["boot_id"] = m.boot_id;
    out["agent_version"] = m.agent_version;
    out["instance_id"] = m.instance_id;
    return out;
  }
  json::object operator()(const Ready& m) const {
    json::object out = start("ready");
    out["nonce"] = m.nonce;
    return out;
  }
  json::object operator()(const Stage& m) const {
    json::object out = start("stage");
    out["name"] = stage_text(m.name);
    out["ok"] = m.ok;
    out["detail"] = m.detail;
    out["ms"] = m.ms;
    return out;
  }
  json::object operator()(const Marker& m) const {
    json::object out = start("marker");
    out["name"] = marker_text(m.name);
    out["content"] = m.content;
    return out;
  }
  json::object operator()(const Heartbeat& m) const {
    json::object out = start("heartbeat");
    out["seq"] = m.seq;
    out["uptime_ms"] = m.uptime_ms;
    if (m.load_percent) out["load_percent"] = *m.load_percent;
    if (m.disk_free) out["disk_free"] = *m.disk_free;
    return out;
  }
  json::object operator()(const Welcome& m) const {
    json::object out = start("welcome");
    out["nonce"] = m.nonce;
    out["instance_id"] = m.instance_id;
    out["workspace"] = m.workspace;
    out["markers"] = m.markers;
    if (!m.mounts.empty()) out["mounts"] = list(m.mounts);
    out["heartbeat_ms"] = m.heartbeat_ms;
    json::array fetches;
    for (const FetchTask& task : m.fetches) {
      json::object item;
      write_fetch_task(item, task);
      fetches.push_back(std::move(item));
    }
    out["fetches"] = std::move(fetches);
    if (m.machine) out["machine"] = write_machine(*m.machine);
    if (m.capture) out["capture"] = json::object{{"ports", list(m.capture->ports)}};
    if (!m.authority.empty()) out["authority"] = m.authority;
    write_clock(out, m.time_ms, m.entropy);
    return out;
  }
  json::object operator()(const HeartbeatAck& m) const {
    json::object out = start("heartbeat-ack");
    out["seq"] = m.seq;
    write_clock(out, m.time_ms, m.entropy);
    return out;
  }
  json::object operator()(const Ports& m) const {
    json::object out = start("ports");
    out["ports"] = list(m.ports);
    return out;
  }
};

}  // namespace

std::string_view stage_text(StageName name) { return text_of(kStages, name); }
std::string_view marker_text(MarkerName name) { return text_of(kMarkers, name); }

std::string serialise(const GuestMessage& message) {
  return json::serialize(std::visit(Writer(), message)) + "\n";
}
std::string serialise(const HostMessage& message) {
  return json::serialize(std::visit(Writer(), message)) + "\n";
}

Result<GuestMessage> parse_guest_message(std::string_view line) {
  return parse("guest message", line, kGuestReaders);
}
Result<HostMessage> parse_host_message(std::string_view line) {
  return parse("host message", line, kHostReaders);
}

}  // namespace pinhole::wire
