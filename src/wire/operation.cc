// SPDX-License-Identifier: Apache-2.0
#include "wire/operation.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include <boost/json/serialize.hpp>

#include "base/check.h"
#include "base/printable.h"
#include "wire/frame.h"
#include "wire/object_reader.h"
#include "wire/probe_format.h"

namespace pinhole::wire {
namespace json = boost::json;
namespace {

constexpr std::uint64_t kAnyNumber = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kHighestId = std::numeric_limits<std::uint32_t>::max() - 1;  // -1: "none"
constexpr std::uint64_t kHighestStatus = 255;
constexpr std::uint64_t kHighestSignal = 64;
constexpr std::uint64_t kHighestHttpStatus = 999;
constexpr std::size_t kProbeNameBytes = kUrlBytes + 64;
constexpr std::size_t kRuleBytes = 200;
constexpr std::size_t kNameBytes = 255;  // NAME_MAX
constexpr std::size_t kShownName = 64;
constexpr std::uint64_t kLastPort = 65535;
/// What JSON numbers carry exactly everywhere; no limit of a process needs more.
constexpr std::uint64_t kHighestLimit = std::uint64_t{1} << 53;

// Requests, read.

Result<Limit> read_limit(const json::object& object) {
  ObjectReader reader("exec's limit", object);
  Limit limit;
  limit.name = reader.identifier("name", kWordBytes);
  limit.value = reader.number("value", kHighestLimit);
  PINHOLE_TRY_VOID(reader.finish());
  return limit;
}

Result<WindowSize> read_terminal(const json::object& object) {
  ObjectReader reader("exec's terminal", object);
  constexpr std::uint64_t kLargestSide = 10'000;
  const WindowSize size{
      .rows = static_cast<std::uint16_t>(reader.number("rows", kLargestSide)),
      .columns = static_cast<std::uint16_t>(reader.number("columns", kLargestSide))};
  if (size.rows == 0 || size.columns == 0) reader.refuse("rows", "or \"columns\" is 0");
  PINHOLE_TRY_VOID(reader.finish());
  return size;
}

Result<Request> read_exec(ObjectReader& reader) {
  ExecRequest request;
  request.argv = reader.texts("argv", kArguments, kArgumentBytes);
  request.env = reader.texts("env", kEnvironment, kArgumentBytes);
  request.cwd = reader.text("cwd", kPathBytes);
  request.uid = static_cast<std::uint32_t>(reader.number("uid", kHighestId));
  request.gid = static_cast<std::uint32_t>(reader.number("gid", kHighestId));
  if (request.argv.empty() || request.argv.front().empty()) {
    reader.refuse("argv", "names no program");
  }
  if (!request.cwd.starts_with('/')) reader.refuse("cwd", "is not an absolute path");
  for (const std::string& entry : request.env) {
    if (entry.find('=') == std::string::npos || entry.starts_with('=')) {
      reader.refuse("env", "holds an entry that is not NAME=value");
    }
  }
  if (reader.has("terminal")) {
    if (const json::object* terminal = reader.object("terminal"); terminal != nullptr) {
      PINHOLE_TRY(request.terminal, read_terminal(*terminal));
    }
  }
  if (reader.has("limits")) {
    for (const json::object* item : reader.objects("limits", kLimits)) {
      PINHOLE_TRY(Limit limit, read_limit(*item));
      request.limits.push_back(std::move(limit));
    }
  }
  PINHOLE_TRY_VOID(reader.finish());
  return Request(std::move(request));
}

std::string absolute_path(ObjectReader& reader) {
  std::string path = reader.text("path", kPathBytes);
  if (!path.starts_with('/')) reader.refuse("path", "is not an absolute path");
  return path;
}

Result<Request> read_read_files(ObjectReader& reader) {
  ReadFilesRequest request{.path = absolute_path(reader)};
  PINHOLE_TRY_VOID(reader.finish());
  return Request(std::move(request));
}

Result<Request> read_write_files(ObjectReader& reader) {
  WriteFilesRequest request{.path = absolute_path(reader), .name = reader.text("name", kNameBytes)};
  if (request.name.empty() || request.name == "." || request.name == ".." ||
      request.name.contains('/')) {
    reader.refuse("name", "is not one component of a path");
  }
  PINHOLE_TRY_VOID(reader.finish());
  return Request(std::move(request));
}

Result<Request> read_dial(ObjectReader& reader) {
  DialRequest request{.port = static_cast<std::uint16_t>(reader.number("port", kLastPort))};
  if (request.port == 0) reader.refuse("port", "is 0");
  PINHOLE_TRY_VOID(reader.finish());
  return Request(request);
}

Result<Request> read_probes(ObjectReader& reader) {
  ProbeRequest request;
  for (const json::object* item : reader.objects("probes", kProbes)) {
    PINHOLE_TRY(Probe probe, read_probe(*item));
    request.probes.push_back(std::move(probe));
  }
  PINHOLE_TRY_VOID(reader.finish());
  return Request(std::move(request));
}

template <typename Whole, typename Empty>
Result<Whole> read_empty(ObjectReader& reader) {
  PINHOLE_TRY_VOID(reader.finish());
  return Whole(Empty{});
}

// Replies, read.

Result<Reply> read_exec_reply(ObjectReader& reader) {
  ExecReply reply;
  if (reader.has("exit")) reply.exit = static_cast<int>(reader.number("exit", kHighestStatus));
  if (reader.has("signal")) {
    reply.signal = static_cast<int>(reader.number("signal", kHighestSignal));
  }
  if (reply.exit.has_value() == reply.signal.has_value()) {
    reader.refuse("exit", "and \"signal\": exactly one is needed");
  }
  PINHOLE_TRY_VOID(reader.finish());
  return Reply(reply);
}

Result<Reply> read_status_reply(ObjectReader& reader) {
  StatusReply reply;
  reply.uptime_ms = reader.number("uptime_ms", kAnyNumber);
  reply.boot_id = reader.word("boot_id", kWordBytes);
  reply.agent_version = reader.word("agent_version", kWordBytes);
  reply.cloud_init = reader.word("cloud_init", kWordBytes);
  reply.instance_id = reader.word_or_empty("instance_id", kWordBytes);
  reply.detail = reader.text("detail", kDetailBytes);
  PINHOLE_TRY_VOID(reader.finish());
  return Reply(std::move(reply));
}

Result<Reply> read_files_reply(ObjectReader& reader) {
  FilesReply reply;
  reply.entries = reader.number("entries", kAnyNumber);
  reply.bytes = reader.number("bytes", kAnyNumber);
  PINHOLE_TRY_VOID(reader.finish());
  return Reply(reply);
}

Result<FetchOutcome> read_outcome(const json::object& object) {
  ObjectReader reader("fetch outcome", object);
  FetchOutcome outcome;
  outcome.status = reader.number("status", kHighestHttpStatus);
  outcome.bytes = reader.number("bytes", kAnyNumber);
  outcome.sha256 = reader.word("sha256", kWordBytes);
  outcome.code = reader.text("code", kWordBytes);
  outcome.rule = reader.text("rule", kRuleBytes);
  PINHOLE_TRY_VOID(reader.finish());
  return outcome;
}

Result<ProbeResult> read_result(const json::object& object) {
  ObjectReader reader("probe result", object);
  ProbeResult result;
  result.name = reader.text("name", kProbeNameBytes);
  result.ok = reader.flag("ok");
  result.evidence = reader.text("evidence", kEvidenceBytes);
  result.ms = reader.number("ms", kAnyNumber);
  if (reader.has("fetch")) {
    const json::object* inner = reader.object("fetch");
    if (inner != nullptr) {
      PINHOLE_TRY(result.fetch, read_outcome(*inner));
    }
  }
  PINHOLE_TRY_VOID(reader.finish());
  return result;
}

Result<Reply> read_probe_reply(ObjectReader& reader) {
  ProbeReply reply;
  for (const json::object* item : reader.objects("results", kProbes)) {
    PINHOLE_TRY(ProbeResult result, read_result(*item));
    reply.results.push_back(std::move(result));
  }
  PINHOLE_TRY_VOID(reader.finish());
  return Reply(std::move(reply));
}

Result<Reply> read_error_reply(ObjectReader& reader) {
  ErrorReply reply;
  reply.code = reader.identifier("code", kWordBytes);
  reply.message = reader.text("message", kDetailBytes);
  PINHOLE_TRY_VOID(reader.finish());
  return Reply(std::move(reply));
}

template <typename Whole>
struct Reader {
  std::string_view op;
  Result<Whole> (*read)(ObjectReader&);
};
constexpr std::array kRequestReaders = {
    Reader<Request>{"exec", read_exec},
    Reader<Request>{"status", read_empty<Request, StatusRequest>},
    Reader<Request>{"probe", read_probes},
    Reader<Request>{"shutdown", read_empty<Request, ShutdownRequest>},
    Reader<Request>{"read-files", read_read_files},
    Reader<Request>{"write-files", read_write_files},
    Reader<Request>{"dial", read_dial},
};
constexpr std::array kReplyReaders = {
    Reader<Reply>{"exec", read_exec_reply},
    Reader<Reply>{"status", read_status_reply},
    Reader<Reply>{"probe", read_probe_reply},
    Reader<Reply>{"shutdown", read_empty<Reply, ShutdownReply>},
    Reader<Reply>{"files", read_files_reply},
    Reader<Reply>{"dial", read_empty<Reply, DialReply>},
    Reader<Reply>{"error", read_error_reply},
};

template <typename Whole, std::size_t n>
Result<Whole> parse(std::string_view what, std::string_view text,
                    const std::array<Reader<Whole>, n>& readers) {
  PINHOLE_TRY(const json::object object, parse_versioned(what, text, kFrameBytes));
  const json::value* op = object.if_contains("op");
  if (op == nullptr || !op->is_string()) return fail("{}: \"op\" is missing", what);
  const std::string_view name = op->get_string();
  for (const Reader<Whole>& candidate : readers) {
    if (candidate.op != name) continue;
    ObjectReader reader(fmt::format("{} \"{}\"", what, name), object);
    reader.number("v", kVersion);
    reader.text("op", kWordBytes);
    return candidate.read(reader);
  }
  return fail("{}: unknown op \"{}\"", what, printable(name, kShownName));
}

// Written.

json::object start(std::string_view op) { return {{"v", kVersion}, {"op", op}}; }

json::array list(const std::vector<std::string>& values) {
  json::array out;
  for (const std::string& value : values) out.emplace_back(value);
  return out;
}

struct RequestWriter {
  json::object operator()(const ExecRequest& r) const {
    json::object out = start("exec");
    out["argv"] = list(r.argv);
    out["env"] = list(r.env);
    out["cwd"] = r.cwd;
    out["uid"] = r.uid;
    out["gid"] = r.gid;
    if (r.terminal) {
      out["terminal"] = json::object{{"rows", r.terminal->rows}, {"columns", r.terminal->columns}};
    }
    if (!r.limits.empty()) {
      json::array limits;
      for (const Limit& limit : r.limits)
        limits.push_back(json::object{{"name", limit.name}, {"value", limit.value}});
      out["limits"] = std::move(limits);
    }
    return out;
  }
  json::object operator()(const ReadFilesRequest& r) const {
    json::object out = start("read-files");
    out["path"] = r.path;
    return out;
  }
  json::object operator()(const WriteFilesRequest& r) const {
    json::object out = start("write-files");
    out["path"] = r.path;
    out["name"] = r.name;
    return out;
  }
  json::object operator()(const DialRequest& r) const {
    json::object out = start("dial");
    out["port"] = r.port;
    return out;
  }
  json::object operator()(const StatusRequest&) const { return start("status"); }
  json::object operator()(const ProbeRequest& r) const {
    json::object out = start("probe");
    json::array probes;
    for (const Probe& probe : r.probes) probes.push_back(write_probe(probe));
    out["probes"] = std::move(probes);
    return out;
  }
  json::object operator()(const ShutdownRequest&) const { return start("shutdown"); }
};

struct IsAnsweredBy {
  const Reply& reply;
  bool operator()(const ExecRequest&) const { return is<ExecReply>(); }
  bool operator()(const StatusRequest&) const { return is<StatusReply>(); }
  bool operator()(const ProbeRequest&) const { return is<ProbeReply>(); }
  bool operator()(const ShutdownRequest&) const { return is<ShutdownReply>(); }
  bool operator()(const ReadFilesRequest&) const { return is<FilesReply>(); }
  bool operator()(const WriteFilesRequest&) const { return is<FilesReply>(); }
  bool operator()(const DialRequest&) const { return is<DialReply>(); }

 private:
  template <typename Kind>
  [[nodiscard]] bool is() const {
    return std::holds_alternative<Kind>(reply);
  }
};

json::object write_result(const ProbeResult& r) {
  json::object out = {{"name", r.name}, {"ok", r.ok}, {"evidence", r.evidence}, {"ms", r.ms}};
  if (r.fetch) {
    out["fetch"] = json::object{{"status", r.fetch->status},
                                {"bytes", r.fetch->bytes},
                                {"sha256", r.fetch->sha256},
                                {"code", r.fetch->code},
                                {"rule", r.fetch->rule}};
  }
  return out;
}

struct ReplyWriter {
  json::object operator()(const ExecReply& r) const {
    json::object out = start("exec");
    if (r.exit) out["exit"] = *r.exit;
    if (r.signal) out["signal"] = *r.signal;
    return out;
  }
  json::object operator()(const StatusReply& r) const {
    json::object out = start("status");
    out["uptime_ms"] = r.uptime_ms;
    out["boot_id"] = r.boot_id;
    out["agent_version"] = r.agent_version;
    out["cloud_init"] = r.cloud_init;
    out["instance_id"] = r.instance_id;
    out["detail"] = r.detail;
    return out;
  }
  json::object operator()(const ProbeReply& r) const {
    constexpr std::size_t kRoom = 1024;  // the object around the results
    json::object out = start("probe");
    json::array results;
    std::size_t used = kRoom;
    for (const ProbeResult& result : r.results) {
      json::object item = write_result(result);
      used += json::serialize(item).size() + 1;
      if (used > kFrameBytes) break;
      results.push_back(std::move(item));
    }
    out["results"] = std::move(results);
    return out;
  }
  json::object operator()(const ShutdownReply&) const { return start("shutdown"); }
  json::object operator()(const FilesReply& r) const {
    json::object out = start("files");
    out["entries"] = r.entries;
    out["bytes"] = r.bytes;
    return out;
  }
  json::object operator()(const DialReply&) const { return start("dial"); }
  json::object operator()(const ErrorReply& r) const {
    json::object out = start("error");
    out["code"] = r.code;
    out["message"] = r.message;
    return out;
  }
};

}  // namespace

bool answers(const Reply& reply, const Request& request) {
  return std::holds_alternative<ErrorReply>(reply) || std::visit(IsAnsweredBy{reply}, request);
}

Result<std::string> serialise(const Request& request) {
  std::string text = json::serialize(std::visit(RequestWriter(), request));
  // What the other side would refuse is better refused here, where the user can read why.
  PINHOLE_TRY_VOID(parse_request(text));
  return text;
}

std::string serialise(const Reply& reply) {
  std::string text = json::serialize(std::visit(ReplyWriter(), reply));
  PINHOLE_CHECK(text.size() <= kFrameBytes);
  return text;
}

Result<Request> parse_request(std::string_view json) {
  return parse("request", json, kRequestReaders);
}
Result<Reply> parse_reply(std::string_view json) { return parse("reply", json, kReplyReaders); }

}  // namespace pinhole::wire
