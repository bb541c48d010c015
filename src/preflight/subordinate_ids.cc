// SPDX-License-Identifier: Apache-2.0
#include "preflight/subordinate_ids.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include <fmt/format.h>

#include "base/strings.h"
#include "sys/files.h"

namespace pinhole::preflight {
namespace {

constexpr std::uint64_t kFirst = 100'000;  // SUB_UID_MIN of login.defs(5)
constexpr std::uint64_t kStep = 100'000;   // numbers that people can read
constexpr std::uint64_t kCount = 65'536;
constexpr std::uint64_t kIdLimit = std::uint64_t{1} << 31;  // above, some programs see a sign

struct Taken {
  std::uint64_t first;
  std::uint64_t end;  // one past the last
};

void add_taken(std::string_view text, std::vector<Taken>& taken) {
  for (const std::string_view line : split(text, '\n')) {
    const auto fields = split(line, ':');
    if (fields.size() != 3) continue;
    const auto first = parse_u64(trim(fields[1])), count = parse_u64(trim(fields[2]));
    if (first && count && *first < kIdLimit && *count > 0)
      taken.push_back({.first = *first, .end = *first + std::min(*count, kIdLimit)});
  }
}

}  // namespace

std::optional<std::string> next_free_ids(std::string_view subuid_text,
                                         std::string_view subgid_text) {
  std::vector<Taken> taken;
  add_taken(subuid_text, taken);
  add_taken(subgid_text, taken);
  std::ranges::sort(taken, {}, &Taken::first);
  std::uint64_t first = kFirst;
  for (const Taken& range : taken) {
    if (range.first >= first + kCount) break;  // and so do all after it
    if (range.end > first) first = (range.end + kStep - 1) / kStep * kStep;
  }
  if (first + kCount > kIdLimit) return std::nullopt;
  return fmt::format("{}-{}", first, first + kCount - 1);
}

Result<SubordinateIds> check_subordinate_ids(const sys::User& user) {
  constexpr const char* kSubuid = "/etc/subuid";
  constexpr const char* kSubgid = "/etc/subgid";
  const auto uids = sys::subordinate_ids(kSubuid, user);
  const auto gids = sys::subordinate_ids(kSubgid, user);
  if (uids && gids) return SubordinateIds{.uids = *uids, .gids = *gids};
  constexpr std::uint64_t kLargestFile = 1 << 20;
  const auto free_ids = next_free_ids(sys::read_file(kSubuid, kLargestFile).value_or(""),
                                      sys::read_file(kSubgid, kLargestFile).value_or(""));
  return fail(Error{
      .message =
          fmt::format("user \"{}\" has no subordinate ids, which a workspace needs", user.name),
      .fix = free_ids ? fmt::format("sudo usermod --add-subuids {0} --add-subgids {0} {1}",
                                    *free_ids, user.name)
                      : fmt::format("give \"{}\" 65536 ids of its own in {} and {}", user.name,
                                    kSubuid, kSubgid)});
}

}  // namespace pinhole::preflight
