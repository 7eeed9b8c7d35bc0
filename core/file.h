// Files: whole-file reads (plain, gzip, stdin) and writes that are all or nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace espalier::core {

/// Whole content of `path`; "-" is stdin; gzip is recognised by its magic bytes. Throws Error (bad input) for a missing
/// file, a folder, a truncated or corrupt gzip stream, or content that inflates beyond `max_bytes`.
std::string read_file(const std::string& path, std::int64_t max_bytes = std::int64_t{4} << 30);

/// Writes to a temporary name beside `path`, then renames, so that a reader never sees half a file; "-" is stdout.
/// Throws Error (bad input) naming the path when that fails; the old content is then untouched.
void write_file(const std::string& path, std::string_view content);

/// What write_file() would throw for want of a folder or of permission, before there is anything to write: for work
/// that takes long. Leaves no trace. A disk that is full is found only by writing.
void require_writable(const std::string& path);

}  // namespace espalier::core
