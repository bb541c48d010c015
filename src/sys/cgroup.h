// SPDX-License-Identifier: Apache-2.0
// A cgroup (v2) for one program and all that it starts, whatever sessions and groups they make of
// their own: the one exact way to end them all (cgroup.kill, Linux 5.14).
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/fd.h"

namespace pinhole::sys {

/// Where they are made: below the cgroup that this process is in.
class Cgroups {
 public:
  /// Nothing where this process may not make any (no cgroup2 here, not root, read-only).
  static std::shared_ptr<Cgroups> find();

  /// One cgroup. The destructor removes it; when processes still live in it, they live on and a later
  /// make() removes it.
  class One {
   public:
    One(std::shared_ptr<Cgroups> all, std::string name, Fd folder)
        : all_(std::move(all)), name_(std::move(name)), folder_(std::move(folder)) {}
    One(One&&) = default;
    One& operator=(One&&) = delete;
    ~One();
    /// For SessionCommand::cgroup.
    [[nodiscard]] int get() const { return folder_.get(); }
    void kill() const;

   private:
    std::shared_ptr<Cgroups> all_;
    std::string name_;
    Fd folder_;
  };
  /// Nothing when it cannot be made.
  static std::optional<One> make(const std::shared_ptr<Cgroups>& all);

 private:
  explicit Cgroups(Fd parent) : parent_(std::move(parent)) {}
  std::optional<One> make_one(std::shared_ptr<Cgroups> self);
  /// What an earlier process in our place has left.
  void sweep();
  void remove(std::string name);

  Fd parent_;
  std::uint64_t next_ = 1;
  std::deque<std::string> occupied_;  // what could not be removed yet
};

}  // namespace pinhole::sys
