// SPDX-License-Identifier: Apache-2.0
#include "agent/operations.h"

#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <utility>

#include "agent/boot.h"
#include "agent/cloud_init.h"
#include "agent/dial.h"
#include "agent/exec.h"
#include "agent/files.h"
#include "agent/probes.h"
#include "base/log.h"
#include "base/printable.h"
#include "sys/cgroup.h"
#include "sys/power_off.h"
#include "sys/session_child.h"
#include "wire/frame.h"
#include "wire/operation.h"

namespace pinhole::agent {
namespace {

using asio::experimental::awaitable_operators::operator||;
using std::chrono::milliseconds;

constexpr milliseconds kRequestLimit{10'000};  // from the connection to its whole request
constexpr milliseconds kReplyLimit{30'000};    // for a host that does not read
constexpr milliseconds kRetry{500};
constexpr std::size_t kPiece = 16 * 1024;

using SettingsPtr = std::shared_ptr<const Settings>;
using ConnectionPtr = std::shared_ptr<Connection>;
using CgroupsPtr = std::shared_ptr<sys::Cgroups>;
using MaybeReply = std::optional<wire::Reply>;

wire::ErrorReply refusal(std::string code, std::string_view message) {
  return {.code = std::move(code), .message = printable(message, wire::kDetailBytes - 4)};
}

asio::awaitable<Result<wire::Request>> read_request(ConnectionPtr connection) {
  std::array<char, kPiece> piece;
  for (;;) {
    auto frame = connection->frames.next();
    if (!frame) co_return fail(std::move(frame).error());
    if (*frame) {
      if ((*frame)->type != wire::FrameType::request)
        co_return fail("the first frame is no request");
      co_return wire::parse_request((*frame)->payload);
    }
    const auto [error, n] =
        co_await connection->stream.async_read_some(asio::buffer(piece), as_result);
    if (error) co_return fail("the connection ended before its request");
    connection->frames.add(std::string_view(piece.data(), n));
  }
}

asio::awaitable<bool> write_reply(ConnectionPtr connection, wire::Reply reply) {
  const std::string frame = wire::encode_frame(wire::FrameType::reply, wire::serialise(reply));
  const auto [error, n] =
      co_await asio::async_write(connection->stream, asio::buffer(frame), as_result);
  co_return !error;
}

wire::StatusReply read_status(const Settings& settings) {
  const CloudInit found = read_cloud_init(settings.root);
  return {.uptime_ms = static_cast<std::uint64_t>(uptime().count()),
          .boot_id = boot_id(),
          .agent_version = PINHOLE_VERSION,
          .cloud_init = std::string(cloud_init_text(found.state)),
          .instance_id = found.instance_id,
          .detail = found.detail};
}

/// Ends when the host goes away, or says more than its request.
asio::awaitable<void> await_hang_up(ConnectionPtr connection) {
  char byte = 0;
  co_await connection->stream.async_read_some(asio::buffer(&byte, 1), as_result);
}

asio::awaitable<MaybeReply> run_probe_request(SettingsPtr settings, ConnectionPtr connection,
                                              wire::ProbeRequest request) {
  auto first =
      co_await (run_probes(settings, std::move(request.probes)) || await_hang_up(connection));
  if (first.index() == 1) co_return std::nullopt;
  co_return std::get<0>(std::move(first));
}

asio::awaitable<MaybeReply> run(SettingsPtr settings, CgroupsPtr cgroups, ConnectionPtr connection,
                                wire::Request request) {
  if (auto* exec = std::get_if<wire::ExecRequest>(&request)) {
    auto reply = co_await run_exec(settings, cgroups, connection, std::move(*exec));
    co_return reply;
  }
  if (auto* probes = std::get_if<wire::ProbeRequest>(&request)) {
    auto reply = co_await run_probe_request(settings, connection, std::move(*probes));
    co_return reply;
  }
  if (auto* read = std::get_if<wire::ReadFilesRequest>(&request)) {
    auto reply = co_await run_read_files(settings, connection, std::move(*read));
    co_return reply;
  }
  if (auto* write = std::get_if<wire::WriteFilesRequest>(&request)) {
    auto reply = co_await run_write_files(settings, connection, std::move(*write));
    co_return reply;
  }
  if (const auto* dial = std::get_if<wire::DialRequest>(&request)) {
    auto reply = co_await run_dial(connection, *dial);
    co_return reply;
  }
  if (std::holds_alternative<wire::StatusRequest>(request)) co_return read_status(*settings);
  if (!settings->may_power_off) co_return refusal("failed", "powering off is not allowed here");
  if (auto begun = sys::begin_power_off(); !begun) {
    co_return refusal("failed", begun.error().message);
  }
  co_return wire::ShutdownReply{};
}

asio::awaitable<void> serve_one(SettingsPtr settings, CgroupsPtr cgroups,
                                ConnectionPtr connection) {
  auto request = co_await with_deadline(read_request(connection), kRequestLimit);
  if (!request) {
    log(LogLevel::warning, "operation: no request within {} s", kRequestLimit.count() / 1000);
    co_return;
  }
  MaybeReply reply;
  if (*request) {
    auto done = co_await run(settings, cgroups, connection, std::move(**request));
    reply = std::move(done);
  } else {
    reply = refusal("bad_request", request->error().message);
  }
  if (reply) co_await with_deadline(write_reply(connection, std::move(*reply)), kReplyLimit);
}

asio::awaitable<void> refuse_busy(ConnectionPtr connection) {
  const wire::Reply reply = refusal("busy", fmt::format("{} operations are running", kOperations));
  co_await with_deadline(write_reply(connection, reply), milliseconds(1000));
}

asio::awaitable<void> serve(SettingsPtr settings, CgroupsPtr cgroups, Stream stream,
                            std::shared_ptr<std::size_t> open) {
  const auto connection = std::make_shared<Connection>(Connection{.stream = std::move(stream)});
  try {
    if (*open > kOperations) {
      co_await refuse_busy(connection);
    } else {
      co_await serve_one(settings, cgroups, connection);
    }
  } catch (const std::exception& error) {  // out of memory: this operation is over, not the agent
    log(LogLevel::error, "operation: {}", error.what());
  }
  // A burst's buffers go back to the kernel.
  if (--*open == 0) ::malloc_trim(0);
}

asio::awaitable<void> accept_all(SettingsPtr settings, CgroupsPtr cgroups, Acceptor acceptor) {
  const auto executor = co_await asio::this_coro::executor;
  const auto open = std::make_shared<std::size_t>(0);
  asio::steady_timer pause(executor);
  for (;;) {
    auto [error, stream] = co_await acceptor.async_accept(as_result);
    if (error) {
      pause.expires_after(kRetry);
      co_await pause.async_wait(as_result);
      continue;
    }
    if (!peer_is_host(stream) || *open > 2 * kOperations) continue;  // closes it
    ++*open;
    asio::co_spawn(executor, serve(settings, cgroups, std::move(stream), open), asio::detached);
  }
}

}  // namespace

asio::awaitable<void> run_operations(SettingsPtr settings) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer pause(executor);
  sys::raise_descriptor_limit();  // each operation takes some
  const CgroupsPtr cgroups = settings->cgroups ? sys::Cgroups::find() : nullptr;
  for (bool told = false;; told = true) {
    auto acceptor = listen_stream(executor, settings->operations);
    if (acceptor) co_await accept_all(settings, cgroups, std::move(*acceptor));
    if (!acceptor && !told) log(LogLevel::warning, "{}", acceptor.error().message);
    pause.expires_after(kRetry);
    co_await pause.async_wait(as_result);
  }
}

}  // namespace pinhole::agent
