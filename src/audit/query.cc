// SPDX-License-Identifier: Apache-2.0
#include "audit/query.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "audit/record.h"
#include "base/clock.h"
#include "base/printable.h"
#include "base/strings.h"

namespace pinhole::audit {

using std::chrono::system_clock;

namespace {

bool host_matches(std::string_view wanted, std::string_view host) {
  if (wanted.starts_with("*.")) return host.ends_with(wanted.substr(1));
  return wanted == host;
}

/// Refusals that are ours, not an origin's failure; those of an exchange that was let through first
/// stand in its end.
constexpr std::string_view kRefusals[] = {
    "ssrf_blocked",    "secret_blocked",       "secret_missing", "redirect_blocked",
    "ech_not_allowed", "constraint_violation", "rate_limited",
};

bool is_refusal(const Entry& entry) {
  if (entry.kind == kind_name(Kind::end))
    return std::ranges::find(kRefusals, entry.code) != std::end(kRefusals);
  return entry.action == "deny";
}

constexpr std::uint16_t kHttpPort = 80;
constexpr std::uint16_t kHttpsPort = 443;

/// Where what is spoken is neither HTTP nor TLS from its first byte: mail, ssh, databases, queues.
constexpr std::uint16_t kRawPorts[] = {21,   22,   23,   25,   110,  143,  389,  587,   1433,
                                       3306, 5432, 5672, 6379, 9042, 9092, 9418, 11211, 27017};

std::string in_url(const std::string& host) { return host.contains(':') ? "[" + host + "]" : host; }

/// What a rule says to mean this host and port.
std::string target_of(const std::string& host, std::uint16_t port) {
  if (port == kHttpsPort || port == 0) return in_url(host);
  const bool raw = std::ranges::find(kRawPorts, port) != std::end(kRawPorts);
  return fmt::format("{}{}:{}", raw ? "tcp://" : "", in_url(host), port);
}

std::string in_yaml(const std::string& target) {
  return target.starts_with('[') ? '"' + target + '"' : target;
}

/// Nothing that a shell gives a meaning to.
bool is_host(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_' ||
           c == ':';
  });
}

}  // namespace

bool Filter::matches(const Entry& entry) const {
  return (host.empty() || host_matches(to_lower(host), host_of(entry.url))) &&
         (code.empty() || code == entry.code) && (rule.empty() || rule == entry.rule) &&
         (action.empty() || action == entry.action) && (method.empty() || method == entry.method) &&
         (!since || entry.time >= *since) && (!until || entry.time < *until);
}

Result<system_clock::time_point> parse_moment(std::string_view text, system_clock::time_point now) {
  constexpr std::pair<char, std::chrono::seconds> kUnits[] = {
      {'s', std::chrono::seconds(1)},
      {'m', std::chrono::minutes(1)},
      {'h', std::chrono::hours(1)},
      {'d', std::chrono::days(1)},
  };
  constexpr std::uint64_t kMost = 1'000'000;
  for (const auto& [unit, length] : kUnits) {
    if (!text.ends_with(unit)) continue;
    const auto number = parse_u64(text.substr(0, text.size() - 1));
    if (number && *number <= kMost) return now - length * static_cast<std::int64_t>(*number);
  }
  std::string full(text.ends_with('Z') ? text.substr(0, text.size() - 1) : text);
  if (full.size() == 10) full += "T00:00";
  if (full.size() == 16) full += ":00";
  if (const auto time = parse_time(full + "Z")) return *time;
  return fail(Error{.message = fmt::format("{} is no time", printable(text, 40)),
                    .fix = "for example 10m, 2h, 3d, or 2026-11-23T10:00 (UTC)",
                    .exit_status = 2});
}

void DenialSummary::add(const Entry& entry) {
  if (!is_refusal(entry)) return;
  const std::uint16_t port = port_of(entry.url);
  Key key{.host = host_of(entry.url),
          .code = entry.code,
          .rule = entry.rule,
          .port = port == kHttpPort ? kHttpsPort : port};
  if (groups_.size() >= kMostGroups && !groups_.contains(key))
    key = {.host = "(others)", .code = "", .rule = ""};
  Seen& seen = groups_[key];
  if (seen.advice.empty() && entry.action == "deny") seen.advice = entry.note;
  const std::string& program = entry.claim.program;
  if (!program.empty() && seen.programs.size() < kMostPrograms &&
      std::ranges::find(seen.programs, program) == seen.programs.end())
    seen.programs.push_back(program);
  const std::string url = entry.url.substr(0, entry.url.find('?'));
  if (seen.count == 0) {
    seen.method = entry.method;
    seen.url = url;
  }
  seen.same_method = seen.same_method && seen.method == entry.method;
  seen.same_url = seen.same_url && seen.url == url;
  seen.count += entry.count.value_or(1);
}

std::string DenialSummary::way_to_allow(const Key& key, const Seen& seen) {
  if (key.code == "ssrf_blocked")
    return fmt::format("your own file, internal:  - {}:PORT -> ADDRESS:PORT", in_url(key.host));
  if (key.code == "rate_limited" || key.code == "constraint_violation")
    return "raise the limit" + (key.rule.empty() ? "" : " of the rule at " + key.rule);
  if (key.code != "denied_by_policy" || key.host.empty()) return {};
  if (key.rule != "default" && !key.rule.empty()) return "narrow the rule at " + key.rule;
  if (seen.method == "CONNECT" || !seen.url.contains("://"))
    return fmt::format("allow:  - {}", in_yaml(target_of(key.host, key.port)));
  std::string line = "allow:  - ";
  if (seen.same_method) line += seen.method + " ";
  if (seen.same_url) return line + seen.url;
  // The authority as it was written, with its port.
  const std::size_t path = seen.url.find('/', seen.url.find("://") + 3);
  return line + seen.url.substr(0, path) + "/**";
}

/// Only where the policy said no, and no rule did: no flag takes a deny away.
std::string DenialSummary::flag_to_allow(const Key& key) {
  if (key.code != "denied_by_policy" || key.rule != "default" || !is_host(key.host)) return {};
  const std::string target = target_of(key.host, key.port);
  const std::string_view quote = target.contains('[') ? "'" : "";
  return fmt::format("--allow {0}{1}{0}", quote, target);
}

std::vector<DeniedGroup> DenialSummary::groups() const {
  std::vector<DeniedGroup> out;
  for (const auto& [key, seen] : groups_) {
    out.push_back({.host = key.host,
                   .code = key.code,
                   .rule = key.rule,
                   .count = seen.count,
                   .allow = way_to_allow(key, seen),
                   .port = key.port,
                   .flag = flag_to_allow(key),
                   .advice = seen.advice,
                   .programs = seen.programs});
  }
  std::ranges::sort(out, [](const DeniedGroup& a, const DeniedGroup& b) {
    return std::tie(b.count, a.host, a.port, a.code, a.rule) <
           std::tie(a.count, b.host, b.port, b.code, b.rule);
  });
  return out;
}

Result<std::vector<DeniedGroup>> denials_of_last_boot(const std::filesystem::path& current) {
  constexpr std::uint64_t kMostBytes = std::uint64_t{64} << 20;
  PINHOLE_TRY(BackwardReader reader, BackwardReader::open(current));
  DenialSummary summary;
  std::optional<std::string> boot;
  while (reader.bytes_read() <= kMostBytes) {
    PINHOLE_TRY(const auto line, reader.next());
    if (!line) break;
    const auto entry = parse_entry(*line);
    if (!entry) continue;
    if (!boot) boot = entry->boot;
    // A PEP that was started again within the boot has written a start record of the same boot.
    if (entry->boot != *boot) break;
    summary.add(*entry);
  }
  return summary.groups();
}

}  // namespace pinhole::audit
