// SPDX-License-Identifier: Apache-2.0
// What is under way by a decision, so that a reload can end what the new policy would refuse.
//
//   policy::Request request = policy::Request::of(head);
//   …decide…
//   UnderWay here(door.under_way, request, [this] { close(); });   // until the exchange is over
#pragma once

#include <functional>
#include <utility>

#include <boost/intrusive/list.hpp>

#include "policy/policy.h"

namespace pinhole::pep {

class UnderWayList;

/// One exchange or tunnel. Neither the request nor what `cut` refers to may end before it.
class UnderWay : public boost::intrusive::list_base_hook<
                     boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
 public:
  UnderWay(UnderWayList& list, const policy::Request& request, std::function<void()> cut);
  UnderWay(const UnderWay&) = delete;
  UnderWay& operator=(const UnderWay&) = delete;

  /// A reload ended it: what its end is to be called in the audit.
  [[nodiscard]] bool was_cut() const { return was_cut_; }

 private:
  friend class UnderWayList;
  const policy::Request& request_;
  std::function<void()> cut_;
  bool was_cut_ = false;
};

class UnderWayList {
 public:
  /// Cuts what `policy` refuses, and what it allows in another way (a tunnel that would be looked
  /// into now). The number of them.
  std::size_t cut_refused(const policy::Policy& before, const policy::Policy& now);

 private:
  friend class UnderWay;
  boost::intrusive::list<UnderWay, boost::intrusive::constant_time_size<false>> all_;
};

}  // namespace pinhole::pep
