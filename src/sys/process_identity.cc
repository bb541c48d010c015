// SPDX-License-Identifier: Apache-2.0
#include "sys/process_identity.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "base/strings.h"
#include "sys/files.h"

namespace pinhole::sys {
namespace {

constexpr std::uint64_t kProcFile = 64 << 10;

/// "Uid:\treal\teffective\t…" (proc(5)); the owner of /proc/PID itself is root for a process that is not dumpable.
std::optional<std::uint32_t> real_uid(std::string_view status) {
  for (const std::string_view line : split(status, '\n')) {
    if (!line.starts_with("Uid:\t")) continue;
    const auto words = split(line, '\t');
    const auto uid = parse_u64(words[1]);
    if (!uid || *uid > UINT32_MAX) return std::nullopt;
    return static_cast<std::uint32_t>(*uid);
  }
  return std::nullopt;
}

}  // namespace

std::optional<ProcessStat> parse_process_stat(std::string_view text) {
  // The second field is a name in parentheses, which may hold anything.
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string_view::npos || text.size() < name_end + 3) return std::nullopt;
  const auto fields = split(trim(text.substr(name_end + 2)), ' ');
  constexpr std::size_t kState = 0, kStarted = 19;  // fields 3 and 22
  if (fields.size() <= kStarted || fields[kState].size() != 1) return std::nullopt;
  const auto started = parse_u64(fields[kStarted]);
  if (!started) return std::nullopt;
  return ProcessStat{.state = fields[kState][0], .started = *started};
}

Result<ProcessIdentity> identity_of(pid_t pid) {
  const std::string folder = fmt::format("/proc/{}", pid);
  const auto stat_text = read_file(folder + "/stat", kProcFile);
  const auto status_text = read_file(folder + "/status", kProcFile);
  const auto stat = stat_text ? parse_process_stat(*stat_text) : std::nullopt;
  const auto uid = status_text ? real_uid(*status_text) : std::nullopt;
  if (!stat || !uid || stat->state == 'Z' || stat->state == 'X')
    return fail("there is no process {}", pid);
  return ProcessIdentity{.pid = pid, .started = stat->started, .uid = *uid};
}

std::optional<Fd> open_process(const ProcessIdentity& identity) {
  if (identity.pid <= 1) return std::nullopt;
  Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, identity.pid, 0)));
  if (!pidfd) return std::nullopt;
  const auto now = identity_of(identity.pid);
  // It lives after the look: so the look was at what the descriptor is of.
  if (!now || *now != identity || has_ended(pidfd.get(), 0)) return std::nullopt;
  return pidfd;
}

bool has_ended(int pidfd, int wait_ms) {
  pollfd waited{.fd = pidfd, .events = POLLIN, .revents = 0};
  return ::poll(&waited, 1, wait_ms) == 1;
}

Result<std::string> pid_namespace() {
  std::error_code error;
  const auto link = std::filesystem::read_symlink("/proc/self/ns/pid", error);
  if (error) return fail("cannot tell the PID namespace: {}", error.message());
  return link.string();
}

}  // namespace pinhole::sys
