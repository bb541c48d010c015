// SPDX-License-Identifier: Apache-2.0
#include "config/boot_record.h"

#include <unistd.h>

#include <boost/json.hpp>

#include "base/json.h"
#include "sys/user.h"
#include "sys/volatile_file.h"

namespace pinhole::config {
namespace {

namespace json = boost::json;
namespace fs = std::filesystem;

constexpr std::int64_t kVersion = 1;

std::optional<std::uint64_t> number(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_int64() || value->get_int64() < 0) return std::nullopt;
  return static_cast<std::uint64_t>(value->get_int64());
}

const json::array* list(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  const bool usable =
      value != nullptr && value->is_array() && value->get_array().size() <= kMostRecorded;
  return usable ? &value->get_array() : nullptr;
}

std::optional<RecordedProcess> parse_process(const json::value& value) {
  if (!value.is_object()) return std::nullopt;
  const json::object& object = value.get_object();
  RecordedProcess out{.name = text_of(object, "name"), .identity = {}};
  const auto pid = number(object, "pid"), started = number(object, "started"),
             uid = number(object, "uid");
  if (out.name.empty() || !pid || *pid <= 1 || *pid > INT32_MAX || !started || !uid ||
      *uid > UINT32_MAX)
    return std::nullopt;
  out.identity = {.pid = static_cast<pid_t>(*pid),
                  .started = *started,
                  .uid = static_cast<std::uint32_t>(*uid)};
  return out;
}

std::unexpected<Error> damaged() { return fail("the record of a VM's boot is damaged"); }

}  // namespace

std::string to_json(const BootRecord& record) {
  json::array processes, paths;
  for (const RecordedProcess& process : record.processes) {
    processes.push_back(json::object{{"name", process.name},
                                     {"pid", process.identity.pid},
                                     {"started", process.identity.started},
                                     {"uid", process.identity.uid}});
  }
  for (const fs::path& path : record.paths) paths.emplace_back(path.string());
  return json::serialize(json::object{{"version", kVersion},
                                      {"host_boot", record.host_boot},
                                      {"pid_namespace", record.pid_namespace},
                                      {"processes", std::move(processes)},
                                      {"paths", std::move(paths)}}) +
         "\n";
}

Result<BootRecord> parse_boot_record(std::string_view text) {
  if (text.size() > kLargestRecord) return damaged();
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  if (error || !value.is_object()) return damaged();
  const json::object& object = value.get_object();
  const json::array* processes = list(object, "processes");
  const json::array* paths = list(object, "paths");
  BootRecord out{.host_boot = text_of(object, "host_boot"),
                 .pid_namespace = text_of(object, "pid_namespace"),
                 .processes = {},
                 .paths = {}};
  if (number(object, "version") != kVersion || processes == nullptr || paths == nullptr ||
      out.host_boot.empty() || out.pid_namespace.empty())
    return damaged();
  for (const json::value& item : *processes) {
    auto process = parse_process(item);
    if (!process) return damaged();
    out.processes.push_back(*std::move(process));
  }
  for (const json::value& item : *paths) {
    if (!item.is_string() || !item.get_string().starts_with('/')) return damaged();
    out.paths.emplace_back(std::string(item.get_string()));
  }
  return out;
}

bool is_of_here(const BootRecord& record) {
  const auto boot = sys::host_boot_id();
  const auto space = sys::pid_namespace();
  return boot && space && record.host_boot == *boot && record.pid_namespace == *space;
}

Result<BootRecorder> BootRecorder::begin(const fs::path& file, std::string_view name,
                                         std::vector<fs::path> paths) {
  BootRecorder out(file);
  PINHOLE_TRY(out.record_.host_boot, sys::host_boot_id());
  PINHOLE_TRY(out.record_.pid_namespace, sys::pid_namespace());
  out.record_.paths = std::move(paths);
  PINHOLE_TRY_VOID(out.add(name, ::getpid()));
  return out;
}

Result<void> BootRecorder::add(std::string_view name, pid_t pid) {
  PINHOLE_TRY(const auto identity, sys::identity_of(pid));
  std::erase_if(record_.processes, [&](const auto& other) { return other.name == name; });
  record_.processes.push_back({.name = std::string(name), .identity = identity});
  return write();
}

Result<void> BootRecorder::write() const {
  // Atomic for readers. Not synced: what it tells of does not outlive the host's end either.
  return sys::write_volatile_file(file_, to_json(record_));
}

void BootRecorder::remove() const { ::unlink(file_.c_str()); }

}  // namespace pinhole::config
