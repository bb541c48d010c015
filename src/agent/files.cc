// SPDX-License-Identifier: Apache-2.0
#include "agent/files.h"

#include <utility>

#include "agent/exec.h"
#include "agent/files_helper.h"
#include "agent/program.h"

namespace pinhole::agent {
namespace {

asio::awaitable<std::optional<wire::Reply>> run_copy(std::shared_ptr<const Settings> settings,
                                                     std::shared_ptr<Connection> connection,
                                                     std::vector<std::string> words,
                                                     bool takes_input) {
  words.insert(words.begin(), settings->self);
  const auto ended = co_await run_program(std::move(connection), {.argv = std::move(words)},
                                          {.collect_errors = true,
                                           .takes_input = takes_input,
                                           .takes_orders = false,
                                           .idle_limit = settings->files_idle});
  if (!ended) co_return std::nullopt;
  if (!*ended) co_return error_reply(ended->error());
  co_return read_files_report((*ended)->errors);
}

}  // namespace

asio::awaitable<std::optional<wire::Reply>> run_read_files(std::shared_ptr<const Settings> settings,
                                                           std::shared_ptr<Connection> connection,
                                                           wire::ReadFilesRequest request) {
  auto reply = co_await run_copy(std::move(settings), std::move(connection),
                                 {"files-read", std::move(request.path)}, false);
  co_return reply;
}

asio::awaitable<std::optional<wire::Reply>> run_write_files(
    std::shared_ptr<const Settings> settings, std::shared_ptr<Connection> connection,
    wire::WriteFilesRequest request) {
  auto reply =
      co_await run_copy(std::move(settings), std::move(connection),
                        {"files-write", std::move(request.path), std::move(request.name)}, true);
  co_return reply;
}

}  // namespace pinhole::agent
