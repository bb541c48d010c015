// SPDX-License-Identifier: Apache-2.0
#include "wire/probe_format.h"

#include <array>
#include <limits>
#include <utility>

#include <boost/json/array.hpp>

#include "base/printable.h"
#include "wire/fetch_task.h"
#include "wire/object_reader.h"

namespace pinhole::wire {
namespace json = boost::json;
namespace {

constexpr std::size_t kAddressBytes = 64;
constexpr std::size_t kShownName = 64;
constexpr std::uint64_t kAnyU16 = std::numeric_limits<std::uint16_t>::max();
constexpr std::uint64_t kAnyU32 = std::numeric_limits<std::uint32_t>::max();

std::uint64_t read_timeout(ObjectReader& reader) {
  return reader.number("timeout_ms", kProbeTimeoutMs);
}

std::vector<std::uint32_t> read_u32s(ObjectReader& reader, std::string_view key,
                                     std::size_t max_items) {
  std::vector<std::uint32_t> result;
  for (const std::uint64_t value : reader.numbers(key, max_items, kAnyU32)) {
    result.push_back(static_cast<std::uint32_t>(value));
  }
  return result;
}

template <typename Target>
Probe read_target(ObjectReader& reader) {
  Target probe;
  probe.address = reader.word("address", kAddressBytes);
  probe.port = static_cast<std::uint16_t>(reader.number("port", kAnyU16));
  probe.timeout_ms = read_timeout(reader);
  return probe;
}

Probe read_vsock(ObjectReader& reader) {
  VsockProbe probe;
  probe.cids = read_u32s(reader, "cids", kProbeCids);
  probe.ports = read_u32s(reader, "ports", kProbePorts);
  probe.timeout_ms = read_timeout(reader);
  return probe;
}

Probe read_fetch(ObjectReader& reader) { return FetchProbe{.task = read_fetch_task(reader)}; }

template <typename Empty>
Probe read_empty(ObjectReader&) {
  return Empty{};
}

struct NamedReader {
  std::string_view name;
  Probe (*read)(ObjectReader&);
};
constexpr std::array kReaders = {
    NamedReader{"interfaces", read_empty<InterfacesProbe>},
    NamedReader{"connect", read_target<ConnectProbe>},
    NamedReader{"udp", read_target<UdpProbe>},
    NamedReader{"vsock", read_vsock},
    NamedReader{"fetch", read_fetch},
    NamedReader{"marker", read_empty<MarkerProbe>},
    NamedReader{"env", read_empty<EnvProbe>},
};

json::array list(const std::vector<std::uint32_t>& values) {
  json::array out;
  for (const std::uint32_t value : values) out.emplace_back(value);
  return out;
}

template <typename Target>
json::object target(std::string_view name, const Target& probe) {
  return {{"probe", name},
          {"address", probe.address},
          {"port", probe.port},
          {"timeout_ms", probe.timeout_ms}};
}

struct Writer {
  json::object operator()(const InterfacesProbe&) const { return {{"probe", "interfaces"}}; }
  json::object operator()(const ConnectProbe& p) const { return target("connect", p); }
  json::object operator()(const UdpProbe& p) const { return target("udp", p); }
  json::object operator()(const VsockProbe& p) const {
    return {{"probe", "vsock"},
            {"cids", list(p.cids)},
            {"ports", list(p.ports)},
            {"timeout_ms", p.timeout_ms}};
  }
  json::object operator()(const FetchProbe& p) const {
    json::object out = {{"probe", "fetch"}};
    write_fetch_task(out, p.task);
    return out;
  }
  json::object operator()(const MarkerProbe&) const { return {{"probe", "marker"}}; }
  json::object operator()(const EnvProbe&) const { return {{"probe", "env"}}; }
};

std::string host_port(const std::string& address, std::uint16_t port) {
  const bool v6 = address.find(':') != std::string::npos;
  return fmt::format("{}{}{}:{}", v6 ? "[" : "", address, v6 ? "]" : "", port);
}

struct Namer {
  std::string operator()(const InterfacesProbe&) const { return "interfaces"; }
  std::string operator()(const ConnectProbe& p) const {
    return "connect " + host_port(p.address, p.port);
  }
  std::string operator()(const UdpProbe& p) const { return "udp " + host_port(p.address, p.port); }
  std::string operator()(const VsockProbe&) const { return "vsock"; }
  std::string operator()(const FetchProbe& p) const {
    return fmt::format("fetch {} {}", p.task.method, p.task.url);
  }
  std::string operator()(const MarkerProbe&) const { return "marker"; }
  std::string operator()(const EnvProbe&) const { return "env"; }
};

}  // namespace

json::object write_probe(const Probe& probe) { return std::visit(Writer(), probe); }

Result<Probe> read_probe(const json::object& object) {
  ObjectReader reader("probe", object);
  const std::string name = reader.text("probe", kShownName);
  if (reader.failed()) return fail(std::move(reader.finish()).error());
  for (const NamedReader& candidate : kReaders) {
    if (candidate.name != name) continue;
    Probe probe = candidate.read(reader);
    PINHOLE_TRY_VOID(reader.finish());
    return probe;
  }
  return fail("unknown probe \"{}\"", printable(name, kShownName));
}

std::string probe_name(const Probe& probe) { return std::visit(Namer(), probe); }

}  // namespace pinhole::wire
