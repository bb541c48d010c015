// SPDX-License-Identifier: Apache-2.0
// What Pinhole has kept: images, VMs and their locks, and what was left behind.
#include <sys/stat.h>

#include <algorithm>
#include <ranges>
#include <set>

#include "base/printable.h"
#include "base/strings.h"
#include "doctor/row.h"
#include "failures/host.h"
#include "image/store.h"
#include "leftovers/find.h"
#include "sys/files.h"
#include "sys/unix_socket.h"

namespace pinhole::doctor {
namespace {

using failures::told;

constexpr std::size_t kMostNames = 1000;  // of images, of VMs
constexpr std::uint64_t kHashed = 256 << 20;

std::string how_to_renew(const std::string& name) {
  return config::shared_data("images/" + name + ".yaml")
             ? "pinhole image build --refresh " + name
             : fmt::format("pinhole image rm {}   (and build or import it again)", name);
}

/// Whether only a hash of very much could tell that the disk is what was built.
bool was_touched(const image::Image& image) {
  struct stat info{};
  const image::FileRecord& record = image.manifest.disk;
  if (::lstat(image.disk().c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return false;
  const auto mtime = static_cast<std::uint64_t>(info.st_mtim.tv_sec) * 1'000'000'000 +
                     static_cast<std::uint64_t>(info.st_mtim.tv_nsec);
  return mtime != record.mtime_ns && record.size > kHashed &&
         static_cast<std::uint64_t>(info.st_size) == record.size;
}

std::optional<Diagnosis> image_problem(const image::Listed& listed) {
  const std::string name = printable(listed.name, 80);
  if (!listed.image) {
    return problem(told(failures::kImageUnusable, {{"name", name},
                                                   {"why", printable(listed.problem, 200)},
                                                   {"command", how_to_renew(name)}}));
  }
  if (was_touched(*listed.image))
    return problem(
        told(failures::kImageTouched, {{"name", name}, {"command", how_to_renew(name)}}));
  const auto checked = image::check_image(*listed.image, image::CheckDepth::quick);
  if (checked) return std::nullopt;
  return problem(
      told(failures::kImageUnusable,
           {{"name", name}, {"why", checked.error().message}, {"command", how_to_renew(name)}}));
}

Findings images(const Facts& facts) {
  const auto listed = image::list_images(facts.paths.images);
  if (!listed)
    return {problem(told(failures::kStoreUnreadable, {{"why", listed.error().message}}))};
  Findings found;
  std::string names;
  for (const image::Listed& one : *listed) {
    if (found.size() >= kMostFindings) break;
    names += (names.empty() ? "" : ", ") + one.name;
    if (auto wrong = image_problem(one)) found.push_back(*std::move(wrong));
  }
  if (!found.empty()) return found;
  if (names.empty()) return {fine("none yet; the first start of a VM builds one")};
  return {fine("as they were built: " + names)};
}

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> out;
  std::error_code error, ignored;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (out.size() < kMostNames && config::valid_vm_name(name) && entry.is_directory(ignored))
      out.insert(name);
  }
  return out;
}

/// Who holds a lock on the file, by the kernel's list (proc(5), /proc/locks).
std::string holder(const Facts& facts, const fs::path& lock) {
  struct stat info{};
  if (::stat(lock.c_str(), &info) != 0) return {};
  const std::string inode = fmt::format(":{} ", info.st_ino);
  for (const std::string_view line : split(text_in(facts, "proc/locks"), '\n')) {
    if (!line.contains(inode) || !line.contains("FLOCK")) continue;
    for (const std::string_view field : split(line, ' ')) {
      const auto pid = parse_u64(field);
      if (!pid || *pid == 0 || line.starts_with(field)) continue;
      const std::string command = text_in(facts, fmt::format("proc/{}/comm", *pid));
      return fmt::format("process {} ({}) holds it", *pid,
                         command.empty() ? "of another user or namespace" : printable(command, 40));
    }
  }
  return {};
}

enum class VmUse { idle, running, silent };

VmUse use_of(const config::VmPaths& vm) {
  std::error_code error;
  if (!fs::exists(vm.lock, error)) return VmUse::idle;
  const auto lock = sys::try_lock(vm.lock);
  if (!lock || *lock) return VmUse::idle;
  return sys::try_connect_unix(vm.control_socket).outcome == sys::ConnectOutcome::refused
             ? VmUse::silent
             : VmUse::running;
}

Findings machines(const Facts& facts) {
  Findings found;
  std::size_t all = 0, running = 0;
  for (const std::string& name : names_in(facts.paths.vms)) {
    const auto vm = config::vm_paths(facts.paths, name);
    const VmUse use = use_of(vm);
    ++all;
    if (use == VmUse::running) ++running;
    if (use != VmUse::silent) continue;
    Error error = told(failures::kVmSilent, {{"name", name}});
    if (std::string who = holder(facts, vm.lock); !who.empty())
      error.details.push_back(std::move(who));
    found.push_back(weaker(std::move(error)));
  }
  if (!found.empty()) return found;
  return {fine(fmt::format("{}, {} running", all == 0 ? "none" : std::to_string(all), running))};
}

Findings left_behind(const Facts& facts) {
  const auto found = leftovers::find(facts.paths);
  if (!found) return {weaker(told(failures::kLeftoversUnknown, {{"why", found.error().message}}))};
  if (found->empty()) return {fine("none")};
  std::uint64_t bytes = 0;
  for (const leftovers::Leftover& one : *found) bytes += one.bytes;
  Error error = told(failures::kLeftBehind,
                     {{"count", std::to_string(found->size())}, {"size", format_size(bytes)}});
  constexpr std::size_t kShown = 20;
  for (const leftovers::Leftover& one : *found | std::views::take(kShown))
    error.details.push_back(printable(one.text, 200));
  return {fixable(weaker(std::move(error)))};
}

std::vector<std::string> remove_left_behind(const Facts& facts) {
  std::vector<std::string> done;
  const auto found = leftovers::find(facts.paths);
  if (!found) return done;
  for (const leftovers::Leftover& one : *found) {
    // What a run's guest left is looked at before it goes.
    if (one.kind == leftovers::Kind::ephemeral_vm) continue;
    const auto removed = leftovers::remove(facts.paths, one);
    if (!removed) done.push_back(removed.error().message);
    if (removed && *removed) done.push_back("removed: " + one.text);
  }
  return done;
}

constexpr Row kRows[] = {
    {.name = "images", .run = images, .deadline = std::chrono::seconds(30)},
    {.name = "VMs", .run = machines},
    {.name = "leftovers",
     .run = left_behind,
     .fix = remove_left_behind,
     .deadline = std::chrono::seconds(60)},
};

}  // namespace

std::span<const Row> state_rows() { return kRows; }

}  // namespace pinhole::doctor
