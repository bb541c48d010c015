// SPDX-License-Identifier: Apache-2.0
// The supervisor's end of the PEP: JSON lines over an inherited socket.
//
//   pep → {"event":"ready","policy":"sha256:…","ports":[22,80,443],  once; the port with --canary
//          "canary_port":4711}                                        only
//   pep → {"event":"head","seq":17,"sha256":"…"}                     every 5 s when it changed, and
//                                                                    at the end
//   sup → {"op":"stats"}
//   pep → {"event":"stats","canary_connections":1,"canary_requests":1,"requests":9,"denied":2,
//          "records":14,"connections":3}
//   sup → {"op":"note","text":"…"}                                   a record of the audit chain
//   pep → {"event":"noted"}                                          or with "error":"…"
//   sup → {"op":"reload",…}                                          see pep/reload.h
//   pep → {"event":"reloaded","policy":"sha256:…","ports":[22,80]}   or with "error":"…"
//   sup → {"op":"secrets","values":{"NAME":"…"}}                     kept in memory, never written
//   pep → {"event":"secrets","problems":["…"],"placeholders":{"NAME":"…"},"missing":["NAME"]}
//                                                                    of all secrets, now
//
// The ports are policy::Policy::ports(): what a guest's connections are captured on.
// The end of the stream means that the supervisor is gone: the PEP seals its log and ends.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <boost/json/object.hpp>

#include "base/fd.h"
#include "pep/canary.h"
#include "pep/door.h"
#include "sys/asio.h"

namespace pinhole::pep {

class Control {
 public:
  /// `canary` may be null. `on_end` is called once, when the supervisor's end is closed.
  Control(Door& door, const Canary* canary, Fd socket, std::function<void()> on_end);

  void start();
  /// Sends the head if it changed since the last time.
  void send_head();

 private:
  asio::awaitable<void> read_loop();
  asio::awaitable<void> head_loop();
  void handle(std::string_view line);
  void send_stats();
  void write_note(const boost::json::object& request);
  void reload(const boost::json::object& request);
  void take_secrets(const boost::json::object& request);
  /// One write; a supervisor that does not read loses messages, it never stops us.
  void send(const std::string& json);

  Door& door_;
  const Canary* canary_;
  asio::posix::stream_descriptor socket_;
  std::function<void()> on_end_;
  std::uint64_t sent_sequence_ = 0;
};

}  // namespace pinhole::pep
