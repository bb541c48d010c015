// SPDX-License-Identifier: Apache-2.0
#include "audit/coalescer.h"

#include <utility>

namespace pinhole::audit {

bool DenialCoalescer::admit(const Denial& denial, Time now, std::vector<CoalescedDenials>& due) {
  while (!entries_.empty() && now - entries_.front().started >= kWindow) drop_oldest(due);

  std::string key = denial.method;
  key.append(1, '\0').append(denial.url).append(1, '\0').append(denial.rule).append(1, '\0');
  key.append(denial.code);
  if (const auto found = by_key_.find(key); found != by_key_.end()) {
    return ++found->second->seen <= kInFull;
  }
  if (entries_.size() >= kKinds) drop_oldest(due);
  entries_.push_back({.key = std::move(key), .denial = denial, .started = now, .seen = 1});
  by_key_.emplace(entries_.back().key, std::prev(entries_.end()));
  return true;
}

void DenialCoalescer::drop_oldest(std::vector<CoalescedDenials>& due) {
  Entry& oldest = entries_.front();
  by_key_.erase(oldest.key);
  if (oldest.seen > kInFull) {
    due.push_back({.denial = std::move(oldest.denial), .count = oldest.seen - kInFull});
  }
  entries_.pop_front();
}

std::vector<CoalescedDenials> DenialCoalescer::take_expired(Time now) {
  std::vector<CoalescedDenials> due;
  while (!entries_.empty() && now - entries_.front().started >= kWindow) drop_oldest(due);
  return due;
}

std::vector<CoalescedDenials> DenialCoalescer::take_all() {
  std::vector<CoalescedDenials> due;
  while (!entries_.empty()) drop_oldest(due);
  return due;
}

}  // namespace pinhole::audit
