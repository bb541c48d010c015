// SPDX-License-Identifier: Apache-2.0
#include "pep/under_way.h"

namespace pinhole::pep {

UnderWay::UnderWay(UnderWayList& list, const policy::Request& request, std::function<void()> cut)
    : request_(request), cut_(std::move(cut)) {
  list.all_.push_back(*this);
}

std::size_t UnderWayList::cut_refused(const policy::Policy& before, const policy::Policy& now) {
  std::size_t count = 0;
  for (auto at = all_.begin(); at != all_.end();) {
    UnderWay& each = *at++;  // cutting may end this one, and no other
    const policy::Verdict verdict = now.decide(each.request_);
    if (verdict.allowed() && verdict.handling == before.decide(each.request_).handling) continue;
    each.was_cut_ = true;
    ++count;
    each.cut_();
  }
  return count;
}

}  // namespace pinhole::pep
