// SPDX-License-Identifier: Apache-2.0
#include "pep/limiter.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "audit/reader.h"

namespace pinhole::pep {
namespace {

using Seconds = std::chrono::duration<double>;

std::chrono::seconds whole_seconds(std::chrono::nanoseconds wait) {
  return std::max(std::chrono::ceil<std::chrono::seconds>(wait), std::chrono::seconds(1));
}

}  // namespace

RateBucket::RateBucket(policy::Rate rate, Time now)
    : rate_(rate), tokens_(static_cast<double>(rate.count)), last_(now) {}

void RateBucket::refill(Time now) {
  if (now <= last_) {
    last_ = now;  // a clock that was set back: time counts from here on
    return;
  }
  const double per_second = static_cast<double>(rate_.count) / Seconds(rate_.per).count();
  tokens_ = std::min(static_cast<double>(rate_.count),
                     tokens_ + Seconds(now - last_).count() * per_second);
  last_ = now;
}

void RateBucket::set_rate(policy::Rate rate, Time now) {
  if (rate == rate_) return;
  refill(now);
  tokens_ *= static_cast<double>(rate.count) / static_cast<double>(rate_.count);
  rate_ = rate;
}

std::optional<std::chrono::nanoseconds> RateBucket::wait(Time now) {
  refill(now);
  // A part in a million is what sums of fractions get wrong.
  if (tokens_ >= 1 - 1e-6) return std::nullopt;
  const double per_second = static_cast<double>(rate_.count) / Seconds(rate_.per).count();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Seconds((1 - tokens_) / per_second));
}

void RateBucket::take(Time now) {
  refill(now);
  tokens_ = std::max(0.0, tokens_ - 1);
}

bool RateBucket::full(Time now) {
  refill(now);
  return tokens_ >= static_cast<double>(rate_.count);
}

void Limiter::Slot::finish() {
  for (auto* account : {&rule_, &door_}) {
    if (*account) --(*account)->running;
    account->reset();
  }
}

Limiter::Slot& Limiter::Slot::operator=(Slot&& other) noexcept {
  if (this != &other) {
    finish();
    rule_ = std::move(other.rule_);
    door_ = std::move(other.door_);
  }
  return *this;
}

bool Limiter::make_room(Time now) {
  if (rules_.size() < kMostRules) return true;
  std::erase_if(rules_, [now](auto& entry) {
    Account& account = *entry.second;
    return account.running == 0 && (!account.bucket || account.bucket->full(now));
  });
  return rules_.size() < kMostRules;
}

namespace {

void follow(std::optional<RateBucket>& bucket, const std::optional<policy::Rate>& rate,
            std::vector<Limiter::Time>& past, Limiter::Time now) {
  if (!rate) return bucket.reset();
  if (bucket) return bucket->set_rate(*rate, now);
  std::ranges::sort(past);
  bucket.emplace(*rate, past.empty() ? now : std::min(past.front(), now));
  for (const auto then : past) bucket->take(std::min(then, now));
  past.clear();
}

}  // namespace

/// Nothing: there are too many rules at once.
std::shared_ptr<Limiter::Account> Limiter::find(const std::string& rule,
                                                const policy::RuleLimits& limits, Time now) {
  auto found = rules_.find(rule);
  if (found == rules_.end()) {
    // Without limits there is nothing to remember.
    if (!limits.rate && !limits.concurrent) return std::make_shared<Account>();
    if (!make_room(now)) return nullptr;
    found = rules_.emplace(rule, std::make_shared<Account>()).first;
  }
  std::vector<Time> none;
  const auto past = past_.find(rule);
  follow(found->second->bucket, limits.rate, past == past_.end() ? none : past->second, now);
  if (past != past_.end() && past->second.empty()) past_.erase(past);
  return found->second;
}

std::expected<Limiter::Slot, Limiter::Refused> Limiter::admit(const std::string& rule,
                                                              const Limits& limits, Time now) {
  follow(door_->bucket, limits.door.rate, door_past_, now);
  const auto account = find(rule, limits.rule, now);
  if (!account) return std::unexpected(Refused{.which = "too many rules with limits at once"});
  const std::string owner = "the rule at " + rule;
  if (limits.rule.concurrent && account->running >= *limits.rule.concurrent)
    return std::unexpected(
        Refused{.which = fmt::format("{} at a time of {}", *limits.rule.concurrent, owner)});
  if (limits.door.concurrent && door_->running >= *limits.door.concurrent)
    return std::unexpected(
        Refused{.which = fmt::format("{} at a time of the whole door", *limits.door.concurrent)});
  const auto refused_by = [now](auto& bucket, const auto& rate,
                                const std::string& whose) -> std::optional<Refused> {
    const auto wait = bucket ? bucket->wait(now) : std::nullopt;
    if (!wait) return std::nullopt;
    return Refused{.retry_after = whole_seconds(*wait),
                   .which = fmt::format("{} of {}", policy::to_string(*rate), whose)};
  };
  if (auto refused = refused_by(account->bucket, limits.rule.rate, owner))
    return std::unexpected(*std::move(refused));
  if (auto refused = refused_by(door_->bucket, limits.door.rate, "the whole door"))
    return std::unexpected(*std::move(refused));
  for (auto* each : {account.get(), door_.get()}) {
    if (each->bucket) each->bucket->take(now);
    ++each->running;
  }
  Slot slot;
  slot.rule_ = account;
  slot.door_ = door_;
  return slot;
}

void Limiter::remember(const std::string& rule, Time then) {
  past_[rule].push_back(then);
  door_past_.push_back(then);
}

Result<void> recall_budgets(Limiter& limiter, const std::filesystem::path& audit_log,
                            Limiter::Time now) {
  constexpr std::chrono::hours kLongestPeriod{24};
  constexpr std::uint64_t kMostBytes = std::uint64_t{32} << 20;
  std::error_code error;
  if (!std::filesystem::is_regular_file(audit_log, error)) return {};
  PINHOLE_TRY(audit::BackwardReader reader, audit::BackwardReader::open(audit_log));
  while (reader.bytes_read() <= kMostBytes) {
    PINHOLE_TRY(const auto line, reader.next());
    if (!line) break;
    // Most records need no look inside. A guest cannot write this text: its quotes are escaped.
    if (!line->contains(R"("kind":"decision")") || line->contains(R"("action":"deny")")) continue;
    const auto entry = audit::parse_entry(*line);
    if (!entry || entry->action == "intercept") continue;
    if (entry->time < now - kLongestPeriod) break;
    limiter.remember(entry->rule, entry->time);
  }
  return {};
}

}  // namespace pinhole::pep
