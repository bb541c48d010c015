// SPDX-License-Identifier: Apache-2.0
// A name server for tests, over UDP on loopback.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/fd.h"

namespace pinhole::pep::testing {

/// Answers A and AAAA questions from a table, NXDOMAIN for names that are not in it, and nothing for
/// "silent.test".
class NameServer {
 public:
  /// "93.184.216.34", "2001:db8::1", "cname NAME": all that stands in one answer. The records of a
  /// CNAME's name follow in the same answer.
  using Records = std::vector<std::string>;
  /// One entry for each question of a kind, in order; the last one for all after it.
  using Rounds = std::vector<Records>;

  explicit NameServer(std::map<std::string, Records> table);
  explicit NameServer(std::map<std::string, Rounds> rounds, std::uint32_t seconds_to_live);
  ~NameServer();
  NameServer(const NameServer&) = delete;
  NameServer& operator=(const NameServer&) = delete;

  /// 127.0.0.1:PORT
  [[nodiscard]] std::string where() const;
  [[nodiscard]] int questions() const { return questions_; }

 private:
  void serve();
  std::string answer(const std::string& question);
  void add_records(const std::string& name, const std::string& spelled, std::uint16_t type,
                   std::string& records, int& count);

  std::map<std::string, Rounds> table_;
  std::map<std::pair<std::string, std::uint16_t>, std::size_t> asked_;
  std::uint32_t seconds_to_live_;
  Fd socket_;
  std::uint16_t port_ = 0;
  std::atomic<int> questions_ = 0;
  std::jthread thread_;
};

}  // namespace pinhole::pep::testing
