// SPDX-License-Identifier: Apache-2.0
#include "leftovers/processes.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/printable.h"
#include "failures/leftovers.h"
#include "sys/files.h"

namespace pinhole::leftovers {
namespace {

constexpr std::array<std::string_view, 2> kOwners = {"supervisor", "up"};
constexpr int kEndMs = 5000;

}  // namespace

std::optional<config::BootRecord> read_record(const config::VmPaths& vm) {
  const auto text = sys::read_file(vm.boot_record, config::kLargestRecord);
  if (!text) return std::nullopt;
  auto record = config::parse_boot_record(*text);
  if (!record) return std::nullopt;
  return *std::move(record);
}

std::vector<config::RecordedProcess> living(const config::BootRecord& record) {
  std::vector<config::RecordedProcess> out;
  if (!config::is_of_here(record)) return out;
  std::ranges::copy_if(record.processes, std::back_inserter(out), [](const auto& process) {
    return sys::open_process(process.identity).has_value();
  });
  return out;
}

const config::RecordedProcess* living_owner(const config::BootRecord& record) {
  if (!config::is_of_here(record)) return nullptr;
  for (const config::RecordedProcess& process : record.processes) {
    if (std::ranges::find(kOwners, process.name) != kOwners.end() &&
        sys::open_process(process.identity))
      return &process;
  }
  return nullptr;
}

Result<void> end_process(const config::RecordedProcess& process, std::string_view vm) {
  const auto pidfd = sys::open_process(process.identity);
  if (!pidfd) return {};
  const bool sent = ::syscall(SYS_pidfd_send_signal, pidfd->get(), SIGKILL, nullptr, 0) == 0;
  if (sent || errno == ESRCH) {
    if (sys::has_ended(pidfd->get(), kEndMs)) return {};
  }
  return fail(
      failures::told(failures::kLeftoverStays, {{"pid", std::to_string(process.identity.pid)},
                                                {"name", printable(process.name, 60)},
                                                {"vm", std::string(vm)}}));
}

std::string words_for(const std::vector<config::RecordedProcess>& processes) {
  std::string out;
  for (const config::RecordedProcess& process : processes) {
    out += fmt::format("{}{} (process {})", out.empty() ? "" : ", ", printable(process.name, 60),
                       process.identity.pid);
  }
  return out;
}

}  // namespace pinhole::leftovers
