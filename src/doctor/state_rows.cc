// SPDX-License-Identifier: Apache-2.0
// What Pinhole has kept: images, VMs and their locks, and what was left behind.
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <ranges>
#include <set>

#include "base/printable.h"
#include "base/strings.h"
#include "doctor/row.h"
#include "doctor/state.h"
#include "failures/host.h"
#include "image/store.h"
#include "leftovers/find.h"
#include "leftovers/start.h"
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

}  // namespace

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

namespace {

Findings images(const Facts& facts) {
  const auto listed = image::list_images(facts.paths.images);
  if (!listed)
    return {problem(told(failures::kStoreUnreadable, {{"why", listed.error().message}}))};
  Findings found;
  std::string names;
  for (const image::Listed& one : *listed) {
    if (found.size() >= kMostFindings) break;
    names += (names.empty() ? "" : ", ") + one.name;
    if (!image_problem(one)) continue;
    // A build may have put another in its place in between: what is wrong then is so once more.
    const auto again = image::list_images(facts.paths.images);
    if (!again) continue;
    const auto same = std::ranges::find(*again, one.name, &image::Listed::name);
    if (same == again->end()) continue;
    if (auto wrong = image_problem(*same)) found.push_back(*std::move(wrong));
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

/// Whether its supervisor takes a question and answers it (supervisor/control.h). Who does not listen yet, or no more, is
/// starting or ending.
bool answers(const fs::path& control_socket) {
  constexpr int kLimitMs = 2000;
  auto connected = sys::try_connect_unix(control_socket);
  if (connected.outcome == sys::ConnectOutcome::refused) return true;
  if (!connected.socket) return false;
  if (!sys::write_all(connected.socket.get(), "{\"v\":1,\"op\":\"status\"}\n")) return false;
  pollfd waited{.fd = connected.socket.get(), .events = POLLIN, .revents = 0};
  return ::poll(&waited, 1, kLimitMs) == 1;
}

Findings machines(const Facts& facts) {
  Findings found;
  std::size_t all = 0, running = 0;
  for (const std::string& name : names_in(facts.paths.vms)) {
    const auto vm = config::vm_paths(facts.paths, name);
    ++all;
    std::error_code error;
    if (!fs::exists(vm.lock, error)) continue;
    if (const auto lock = sys::try_lock(vm.lock); !lock || *lock) continue;
    ++running;
    if (auto wrong = leftovers::why_held(vm, name, answers))
      found.push_back(weaker(*std::move(wrong)));
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
    // What a run's guest left is looked at before it goes: whoever runs this row has done that (cli/command_doctor.cc).
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
