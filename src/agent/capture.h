// SPDX-License-Identifier: Apache-2.0
// A network without a network card: every address is the guest's own, every name has one, and a
// connection to a port that the policy knows is carried to the door by its name, whatever the
// program that makes it knows of proxies. Other ports refuse at once, and UDP does.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/capture_connection.h"
#include "agent/proxy.h"
#include "agent/settings.h"
#include "agent/sk_lookup.h"
#include "base/error.h"
#include "sys/asio.h"
#include "wire/hello.h"

namespace pinhole::agent {

/// Connections at a time, all ports together; further ones wait in the kernel's backlog.
inline constexpr std::size_t kCapturedConnections = 1024;

class Capture : public std::enable_shared_from_this<Capture> {
 public:
  /// Sets routes, names and listeners up. What fails is logged, and left out: a guest without a name
  /// server still has its proxy variables. problem() tells of it.
  static std::shared_ptr<Capture> start(const asio::any_io_executor& executor,
                                        std::shared_ptr<const Settings> settings,
                                        const std::vector<std::uint16_t>& ports);

  /// Ports that are no longer there refuse from now on; connections that were made go on.
  void set_ports(const std::vector<std::uint16_t>& ports);
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  Capture(const asio::any_io_executor& executor, std::shared_ptr<const Settings> settings);

  void set_names_up();
  /// One listener for all ports, with the kernel's help; else one for each.
  void listen();
  void listen_on(std::uint16_t port);
  void accept_from(const std::shared_ptr<Acceptor>& acceptor);
  void note_addresses();
  static asio::awaitable<void> follow_addresses(std::shared_ptr<Capture> self, Fd watch);
  void complain(const Result<void>& outcome);

  asio::any_io_executor executor_;
  std::shared_ptr<const Settings> settings_;
  std::shared_ptr<CaptureState> state_;
  std::shared_ptr<Places> places_;
  std::optional<SkLookup> lookup_;
  std::map<std::uint16_t, std::vector<std::shared_ptr<Acceptor>>> listeners_;  // without lookup_
  std::string problem_;
};

/// The one Capture of an agent, which begins with the first welcome that asks for it.
class CaptureService {
 public:
  explicit CaptureService(std::shared_ptr<const Settings> settings)
      : settings_(std::move(settings)) {}
  /// What could not be set up; empty where all is well, or nothing was asked for.
  std::string begin(const asio::any_io_executor& executor,
                    const std::optional<wire::Capture>& wanted);
  /// Before begin() there is nothing to change.
  void set_ports(const std::vector<std::uint16_t>& ports);

 private:
  std::shared_ptr<const Settings> settings_;
  std::shared_ptr<Capture> capture_;
};

}  // namespace pinhole::agent
