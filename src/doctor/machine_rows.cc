// SPDX-License-Identifier: Apache-2.0
// The machine: who runs this on it, KVM, memory, clock, limits.
#include <grp.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <ranges>

#include "base/clock.h"
#include "base/strings.h"
#include "doctor/machine.h"
#include "doctor/row.h"
#include "failures/host.h"
#include "preflight/kvm_probe.h"
#include "preflight/tools.h"
#include "sys/files.h"

namespace pinhole::doctor {
namespace {

using failures::told;
using std::chrono::system_clock;

Findings user(const Facts& facts) {
  if (facts.user.uid == 0) return {problem(told(failures::kRunningAsRoot))};
  return {fine(fmt::format("{} (uid {})", facts.user.name, facts.user.uid))};
}

fs::path kvm_cache(const Facts& facts) { return facts.paths.state / "kvm-probe"; }

std::string group_name(gid_t gid) {
  std::array<char, 16384> buffer;
  group entry{};
  group* found = nullptr;
  if (::getgrgid_r(gid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
    return {};
  return found->gr_name;
}

/// Whether the user database has the user in the group: a session from before that does not.
bool is_member(const Facts& facts, gid_t gid) {
  std::array<gid_t, 1024> groups;
  int count = groups.size();
  if (::getgrouplist(facts.user.name.c_str(), facts.user.gid, groups.data(), &count) < 0)
    return false;
  return std::find(groups.begin(), groups.begin() + count, gid) != groups.begin() + count;
}

Diagnosis kvm_is_missing(const Facts& facts) {
  const std::string cpu = text_in(facts, "proc/cpuinfo").substr(0, 8192);
  const bool intel = cpu.contains(" vmx"), amd = cpu.contains(" svm");
  if (!intel && !amd) return weaker(told(failures::kKvmMissing));
  return weaker(told(failures::kKvmNotLoaded, {{"module", intel ? "kvm_intel" : "kvm_amd"}}));
}

Diagnosis kvm_is_refused(const Facts& facts, const struct stat& device) {
  const std::string name = group_name(device.st_gid);
  const bool for_group = (device.st_mode & 0060) == 0060 && device.st_gid != 0 && !name.empty();
  if (for_group && is_member(facts, device.st_gid))
    return weaker(told(failures::kKvmOldSession, {{"user", facts.user.name}, {"group", name}}));
  const std::string open_it =
      for_group ? "" : "sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm && ";
  return weaker(
      told(failures::kKvmNotPermitted,
           {{"user", facts.user.name}, {"open", open_it}, {"group", for_group ? name : "kvm"}}));
}

Findings kvm(const Facts& facts) {
  struct stat device{};
  const fs::path path = facts.root / "dev/kvm";
  if (::stat(path.c_str(), &device) != 0) return {kvm_is_missing(facts)};
  if (::access(path.c_str(), R_OK | W_OK) != 0) return {kvm_is_refused(facts, device)};
  const auto qemu = preflight::find_qemu();
  if (!qemu) return {fine("/dev/kvm opens; without QEMU it cannot be tried")};
  const auto kernel = preflight::trial_kernel(facts.paths.images, "base");
  if (!kernel) return {fine("/dev/kvm opens; it is tried when there is an image with a kernel")};
  const auto choice = preflight::probe_accelerator(*qemu, *kernel, kvm_cache(facts));
  if (choice.accelerator == config::Accelerator::kvm) return {fine(choice.reason)};
  if (choice.reason.contains("hangs under it")) return {fixable(weaker(told(failures::kKvmHangs)))};
  return {fixable(weaker(told(failures::kKvmUnusable, {{"why", choice.reason}})))};
}

std::vector<std::string> forget_kvm(const Facts& facts) {
  std::error_code error;
  if (!fs::remove(kvm_cache(facts), error)) return {};
  return {"forgot what the last trial of KVM said, and tried it again"};
}

Findings memory(const Facts& facts) {
  const auto available = available_memory(text_in(facts, "proc/meminfo"));
  if (!available) return {fine("unknown: /proc/meminfo does not say")};
  const auto limit = cgroup_room(facts);
  const std::uint64_t room = limit ? std::min(*limit, *available) : *available;
  const std::string text = format_size(room);
  if (room < kSmallestMemory) return {problem(told(failures::kNoMemory, {{"room", text}}))};
  if (room < kMemoryOfAVm) return {weaker(told(failures::kLittleMemory, {{"room", text}}))};
  return {fine(fmt::format("{} available{}", text, limit == room ? " to this control group" : ""))};
}

/// The newest time that stands at something of ours, which a clock that is right has passed.
std::optional<system_clock::time_point> newest_of_ours(const Facts& facts) {
  std::optional<system_clock::time_point> newest;
  constexpr int kMost = 1000;
  int looked_at = 0;
  for (const fs::path& folder : {facts.paths.images, facts.paths.vms}) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      if (++looked_at > kMost) return newest;
      struct stat info{};
      if (::lstat(entry.path().c_str(), &info) != 0) continue;
      const auto time = system_clock::from_time_t(info.st_mtim.tv_sec);
      if (!newest || time > *newest) newest = time;
    }
  }
  return newest;
}

/// Each processor in turn is asked; unsynchronised counters let time go back in between.
bool clock_goes_back() {
  cpu_set_t allowed{};
  if (::sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return false;
  constexpr int kRounds = 3, kProcessors = 64;
  auto last = std::chrono::steady_clock::now();
  bool back = false;
  for (int i = 0; i < kRounds * kProcessors; ++i) {
    const auto processor = static_cast<std::size_t>(i % kProcessors);
    if (!CPU_ISSET(processor, &allowed)) continue;
    cpu_set_t one{};
    CPU_SET(processor, &one);
    if (::sched_setaffinity(0, sizeof(one), &one) != 0) continue;
    const auto now = std::chrono::steady_clock::now();
    back = back || now < last;
    last = now;
  }
  ::sched_setaffinity(0, sizeof(allowed), &allowed);
  return back;
}

bool is_synchronised() {
  timex state{};
  const int result = ::adjtimex(&state);
  return result != TIME_ERROR && (state.status & STA_UNSYNC) == 0;
}

Findings clock(const Facts& facts) {
  const auto now = system_clock::now();
  if (clock_goes_back()) return {problem(told(failures::kClockGoesBack))};
  if (auto wrong = clock_problem(now, newest_of_ours(facts))) return {*std::move(wrong)};
  if (!is_synchronised()) return {weaker(told(failures::kClockFree, {{"now", format_time(now)}}))};
  return {fine(format_time(now) + ", synchronised")};
}

Findings open_files(const Facts& facts) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < kOpenFiles) {
    return {problem(told(failures::kFewOpenFiles, {{"limit", std::to_string(limit.rlim_max)},
                                                   {"needed", std::to_string(kOpenFiles)},
                                                   {"user", facts.user.name}}))};
  }
  return {fine(limit.rlim_max == RLIM_INFINITY
                   ? std::string("no limit")
                   : fmt::format("up to {} for each process", limit.rlim_max))};
}

constexpr Row kRows[] = {
    {.name = "user", .run = user},
    {.name = "KVM",
     .run = kvm,
     .fix = forget_kvm,
     .deadline = preflight::kProbeDeadline + std::chrono::seconds(10)},
    {.name = "memory", .run = memory},
    {.name = "clock", .run = clock},
    {.name = "open files", .run = open_files},
};

}  // namespace

std::optional<std::uint64_t> available_memory(std::string_view meminfo) {
  constexpr std::string_view kKey = "MemAvailable:";
  for (const std::string_view line : split(meminfo, '\n')) {
    if (!line.starts_with(kKey) || !line.ends_with(" kB")) continue;
    const auto number = trim(line.substr(kKey.size(), line.size() - kKey.size() - 3));
    const auto kib = parse_u64(number);
    if (kib && *kib < (std::uint64_t{1} << 50)) return *kib << 10;
  }
  return std::nullopt;
}

namespace {

constexpr int kDeepest = 64;  // control groups in control groups

/// Counted as used, though it goes as soon as memory is wanted: pages of files that nobody has used for a while.
std::uint64_t reclaimable(std::string_view memory_stat) {
  constexpr std::string_view kKey = "inactive_file ";
  for (const std::string_view line : split(memory_stat, '\n')) {
    if (line.starts_with(kKey)) return parse_u64(line.substr(kKey.size())).value_or(0);
  }
  return 0;
}

std::optional<std::uint64_t> room_in(const Facts& facts, const fs::path& folder) {
  const auto most = parse_u64(text_in(facts, (folder / "memory.max").native()));  // "max": none
  const auto used = parse_u64(text_in(facts, (folder / "memory.current").native()));
  if (!most || !used) return std::nullopt;
  const std::uint64_t files = reclaimable(text_in(facts, (folder / "memory.stat").native()));
  return *most - std::min(*most, *used - std::min(*used, files));
}

}  // namespace

std::optional<std::uint64_t> cgroup_room(const Facts& facts) {
  for (const std::string_view line : split(text_in(facts, "proc/self/cgroup"), '\n')) {
    if (!line.starts_with("0::/")) continue;
    // A limit above holds for all below.
    const fs::path top = "sys/fs/cgroup";
    std::optional<std::uint64_t> least = room_in(facts, top);
    fs::path folder = top;
    for (const std::string_view part : split(line.substr(4), '/') | std::views::take(kDeepest)) {
      if (part.empty() || part == "..") break;
      folder /= part;
      const auto room = room_in(facts, folder);
      if (room && (!least || *room < *least)) least = room;
    }
    return least;
  }
  return std::nullopt;
}

std::optional<Diagnosis> clock_problem(system_clock::time_point now,
                                       std::optional<system_clock::time_point> newest) {
  const auto earliest = parse_time("2025-01-01T00:00:00Z");
  const auto latest = parse_time("2100-01-01T00:00:00Z");
  if (now < *earliest || now > *latest)
    return problem(told(failures::kClockInsane, {{"now", format_time(now)}}));
  constexpr auto kTolerance = std::chrono::hours(1);
  if (newest && *newest > now + kTolerance) {
    return weaker(told(failures::kClockBehind,
                       {{"now", format_time(now)}, {"newest", format_time(*newest)}}));
  }
  return std::nullopt;
}

std::span<const Row> machine_rows() { return kRows; }

}  // namespace pinhole::doctor
