// SPDX-License-Identifier: Apache-2.0
#include "doctor/subordinate.h"

#include "base/strings.h"
#include "failures/host.h"
#include "preflight/subordinate_ids.h"

namespace pinhole::doctor {
namespace {

using failures::told;

bool belongs_to(const Grant& grant, const sys::User& user) {
  return grant.owner == user.name || grant.owner == std::to_string(user.uid);
}

/// The one that Pinhole takes, which is the first.
const Grant* own(const std::vector<Grant>& grants, const sys::User& user) {
  for (const Grant& grant : grants)
    if (belongs_to(grant, user)) return &grant;
  return nullptr;
}

const Grant* shared_with(const std::vector<Grant>& grants, const Grant& mine,
                         const sys::User& user) {
  for (const Grant& other : grants) {
    if (!belongs_to(other, user) && other.first < mine.first + mine.count &&
        mine.first < other.first + other.count)
      return &other;
  }
  return nullptr;
}

std::string range(const Grant& grant) {
  return fmt::format("{}-{}", grant.first, grant.first + grant.count - 1);
}

struct Kind {
  std::string_view file, word;  // "/etc/subuid", "subuids"
  std::vector<Grant> grants;
};

}  // namespace

std::vector<Grant> parse_grants(std::string_view text) {
  std::vector<Grant> out;
  constexpr std::uint64_t kIdLimit = 0xFFFFFFFF;
  for (const std::string_view line : split(text, '\n')) {
    const auto fields = split(line, ':');
    if (fields.size() != 3 || fields[0].empty()) continue;
    const auto first = parse_u64(trim(fields[1])), count = parse_u64(trim(fields[2]));
    if (first && count && *count > 0 && *first < kIdLimit && *count <= kIdLimit - *first)
      out.push_back({.owner = std::string(fields[0]), .first = *first, .count = *count});
  }
  return out;
}

std::optional<Diagnosis> grant_problem(std::string_view subuid, std::string_view subgid,
                                       const sys::User& user) {
  const Kind kinds[] = {{"/etc/subuid", "subuids", parse_grants(subuid)},
                        {"/etc/subgid", "subgids", parse_grants(subgid)}};
  const auto free_ids = preflight::next_free_ids(subuid, subgid);
  const std::string fresh = free_ids.value_or("FIRST-LAST");
  std::string missing, small, shared, give, change;
  for (const Kind& kind : kinds) {
    const Grant* mine = own(kind.grants, user);
    if (mine == nullptr) {
      missing += (missing.empty() ? "" : " and ") + std::string(kind.file);
      give += fmt::format(" --add-{} {}", kind.word, fresh);
      continue;
    }
    const Grant* other = shared_with(kind.grants, *mine, user);
    if (other == nullptr && mine->count >= kSubordinateIds) continue;
    change += fmt::format(" --del-{} {} --add-{} {}", kind.word, range(*mine), kind.word, fresh);
    if (other != nullptr)
      shared = fmt::format("{} of {} with \"{}\"", range(*mine), kind.file, other->owner);
    else
      small = fmt::format("{} in {}", mine->count, kind.file);
  }
  const std::string command = fmt::format("sudo usermod{}{} {}", give, change, user.name);
  if (!missing.empty())
    return problem(told(failures::kSubidsMissing,
                        {{"user", user.name}, {"files", missing}, {"command", command}}));
  if (!small.empty())
    return problem(told(failures::kSubidsTooFew,
                        {{"user", user.name}, {"what", small}, {"command", command}}));
  if (!shared.empty())
    return weaker(told(failures::kSubidsShared,
                       {{"user", user.name}, {"what", shared}, {"command", command}}));
  return std::nullopt;
}

}  // namespace pinhole::doctor
