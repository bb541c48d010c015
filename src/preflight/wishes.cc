// SPDX-License-Identifier: Apache-2.0
#include "preflight/wishes.h"

#include <set>

#include <fmt/ranges.h>

#include "base/strings.h"

namespace pinhole::preflight {
namespace {

constexpr std::size_t kMostRules = 40;  // what fits on a screen; the file itself has them all

/// The label stands before its first line only.
class Lines {
 public:
  void begin(std::string_view label) { label_ = label; }
  void add(std::string_view text) {
    lines_.push_back(fmt::format("{:<10} {}", label_, text));
    label_.clear();
  }
  std::vector<std::string> take() { return std::move(lines_); }

 private:
  std::string label_;
  std::vector<std::string> lines_;
};

void add_machine(Lines& lines, const config::VmRequest& request) {
  std::vector<std::string> parts;
  if (request.image) parts.push_back(fmt::format("image {}", *request.image));
  if (request.disk) parts.push_back(fmt::format("disk {}, to write to", *request.disk));
  if (request.cpus) parts.push_back(fmt::format("{} processors", *request.cpus));
  if (request.memory_mib) parts.push_back(format_size(*request.memory_mib << 20));
  if (request.workspace)
    parts.push_back(fmt::format("workspace {}, to {}", *request.workspace,
                                request.read_only.value_or(false) ? "read" : "write to"));
  for (const config::CacheWish& cache : request.caches) {
    parts.push_back(
        fmt::format("cache {}{}{}", cache.name, cache.guest.empty() ? "" : " at ", cache.guest));
  }
  if (request.guard) parts.push_back(fmt::format("guard {}", to_string(*request.guard)));
  if (request.user_data) parts.push_back(fmt::format("user-data {}", *request.user_data));
  lines.begin("machine");
  if (!parts.empty()) lines.add(fmt::format("{}", fmt::join(parts, ", ")));
}

void add_rules(Lines& lines, std::string_view label, const std::vector<policy::Rule>& rules) {
  lines.begin(label);
  for (std::size_t i = 0; i < std::min(rules.size(), kMostRules); ++i) lines.add(text_of(rules[i]));
  if (rules.size() > kMostRules) lines.add(fmt::format("… and {} more", rules.size() - kMostRules));
}

std::set<std::string> named_secrets(const policy::LayerContent& content) {
  std::set<std::string> names;
  for (const policy::Rule& rule : content.allow) {
    if (rule.secrets) names.insert(rule.secrets->begin(), rule.secrets->end());
  }
  return names;
}

}  // namespace

std::vector<std::string> wishes(const policy::LayerContent& content,
                                const config::VmRequest& request) {
  Lines lines;
  add_machine(lines, request);
  lines.begin("presets");
  if (!content.presets.empty()) lines.add(fmt::format("{}", fmt::join(content.presets, ", ")));
  add_rules(lines, "may reach", content.allow);
  if (const auto names = named_secrets(content); !names.empty()) {
    lines.begin("secrets");
    lines.add(fmt::format("{} (by name; only you can give their values)", fmt::join(names, ", ")));
  }
  add_rules(lines, "denies", content.deny);
  if (content.ceiling) add_rules(lines, "ceiling", *content.ceiling);
  auto all = lines.take();
  if (all.empty()) all.emplace_back("nothing");
  return all;
}

}  // namespace pinhole::preflight
