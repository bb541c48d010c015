// SPDX-License-Identifier: Apache-2.0
// Names to addresses by c-ares, without threads: /etc/hosts, then the servers of /etc/resolv.conf.
// Search domains are never tried, so a guest cannot turn "db" into "db.corp.example".
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "http/address.h"
#include "pep/fd_watch.h"
#include "sys/asio.h"

struct ares_channeldata;

namespace pinhole::pep {

using Addresses = std::vector<http::IpAddress>;

/// One per process. The channel is opened anew when its configuration file changes.
class Resolver {
 public:
  struct Settings {
    /// HOST:PORT,… of name servers; the configuration file's where empty.
    std::string servers = {};
    std::filesystem::path configuration = "/etc/resolv.conf";
    std::chrono::milliseconds lookup{5000};  // from question to answer, all servers and tries
    std::size_t lookups_at_once = 64;
    std::size_t answers = 32;  // more addresses than this in one answer are an error
    std::size_t cached_names = 256;
    std::chrono::seconds cached_for{60};  // or the answer's TTL, if shorter
  };
  Resolver(asio::io_context& context, Settings settings);
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  /// Every address of `name`, at least one. Error codes: `dns_error`, `timeout`. Unclassified: the
  /// caller decides which addresses are allowed.
  asio::awaitable<Result<Addresses>> resolve(std::string name);

 private:
  struct Lookup;
  struct Cached {
    Addresses addresses;
    std::chrono::steady_clock::time_point until;
  };
  Result<void> open_channel();
  void close_channel();
  void watch(int fd, bool read, bool write);
  void process(int read_fd, int write_fd);
  void set_timer();
  const Addresses* find_cached(const std::string& name);
  void remember(const std::string& name, const Lookup& lookup);

  asio::io_context& context_;
  Settings settings_;
  ares_channeldata* channel_ = nullptr;
  std::filesystem::file_time_type configuration_time_;
  std::map<int, std::shared_ptr<FdWatch>> watches_;
  asio::steady_timer timer_;
  bool timer_armed_ = false;
  std::size_t running_ = 0;
  std::unordered_map<std::string, Cached> cache_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace pinhole::pep
