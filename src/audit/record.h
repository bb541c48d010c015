// SPDX-License-Identifier: Apache-2.0
// One line of audit.jsonl. The format, version 1, is a JSON object a line:
//
//   {"v":1,"seq":7,"time":"2026-11-22T17:36:22.862Z","kind":"decision","vm":"web","boot":"…",
//    "request":"r-3","method":"GET","url":"https://a.example/x?key=*","rule":"policy.yaml:4",
//    "action":"allow","policy":"sha256:…","prev":"<SHA-256 of the line before, hexadecimal>"}
//
// `v`, `seq`, `time`, `kind` come first and `prev` last; members without a value are left out.
// `seq` counts from 1 without a gap over the whole file, also across boots. `prev` of the first
// line is 64 zeros. Rejected: a running hash in a second file (two files cannot be written at
// once), and a binary format (people read this with jq and grep).
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pinhole::audit {

inline constexpr int kFormatVersion = 1;
/// No line is longer, whatever a guest asks for; longer texts are cut and marked with "…".
inline constexpr std::size_t kLongestLine = 32 * 1024;
inline constexpr std::size_t kLongestText = 2048;
/// `prev` of the first record.
inline constexpr std::string_view kNoPrevious =
    "0000000000000000000000000000000000000000000000000000000000000000";

enum class Kind {
  start,             // a boot begins: names VM, boot, image and policy
  decision,          // allow or deny, written before the first upstream byte or the refusal
  end,               // an allowed exchange is over: status, bytes, duration, code
  denied_coalesced,  // `count` more denials like the one named here
  seal,              // an orderly end; nothing of this boot follows
  note,              // what the supervisor has to say for the record: the result of a verification
};
std::string_view kind_name(Kind kind);

/// What a caller says; sequence number, time and chain are the writer's. Texts are borrowed for the
/// call.
struct Record {
  Kind kind = Kind::decision;
  std::string_view request = {};  // id of the request
  std::string_view method = {};
  std::string_view url = {};  // already through redact_url()
  std::string_view rule = {};
  std::string_view action = {};   // "allow" or "deny"
  std::string_view address = {};  // the checked address that was connected to
  std::string_view code = {};     // policy.md's table
  std::string_view policy = {};   // policy hash
  std::string_view image = {};
  std::string_view note = {};
  std::optional<int> status = {};
  std::optional<std::uint64_t> sent = {};      // body bytes, guest to origin
  std::optional<std::uint64_t> received = {};  // body bytes, origin to guest
  std::optional<std::chrono::microseconds> duration = {};
  std::optional<std::uint64_t> count = {};
};

/// What every record of one run of the PEP carries.
struct Identity {
  std::string vm;
  std::string boot;
};

/// The record as a line with its newline.
std::string format_record(const Record& record, const Identity& identity, std::uint64_t sequence,
                          std::chrono::system_clock::time_point time, std::string_view previous);

/// A URL fit for a log: no userinfo, query values replaced by `*` (they carry tokens), no fragment,
/// cut at kLongestText.
std::string redact_url(std::string_view url);

}  // namespace pinhole::audit
