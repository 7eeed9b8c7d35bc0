#include "core/file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <vector>

#include "core/error.h"

namespace espalier::core {
namespace {

std::string slurp(std::FILE* file, const std::string& path, std::int64_t max_bytes) {
  std::string content;
  std::vector<char> buffer(1 << 20);
  while (true) {
    const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), file);
    content.append(buffer.data(), got);
    if (static_cast<std::int64_t>(content.size()) > max_bytes) {
      throw bad_input(path, fmt::format("at most {} bytes", max_bytes), "more");
    }
    if (got < buffer.size()) break;
  }
  if (std::ferror(file) != 0) throw bad_input(path, "a readable file", std::strerror(errno));
  return content;
}

struct InflateEnd {
  void operator()(z_stream* z) const {
    inflateEnd(z);
    delete z;
  }
};

std::string gunzip(const std::string& data, const std::string& path, std::int64_t max_bytes) {
  std::unique_ptr<z_stream, InflateEnd> z(new z_stream{});
  if (inflateInit2(z.get(), 15 + 16) != Z_OK) throw bad_input(path, "a gzip stream", "zlib failed to start");
  std::string content;
  std::vector<char> buffer(1 << 20);
  z->next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  std::size_t unfed = data.size();
  while (true) {
    if (z->avail_in == 0) {  // zlib counts its input in 32 bits, files may be longer
      z->avail_in = static_cast<uInt>(std::min<std::size_t>(unfed, std::size_t{1} << 30));
      unfed -= z->avail_in;
    }
    z->next_out = reinterpret_cast<Bytef*>(buffer.data());
    z->avail_out = static_cast<uInt>(buffer.size());
    const int status = inflate(z.get(), Z_NO_FLUSH);
    content.append(buffer.data(), buffer.size() - z->avail_out);
    if (static_cast<std::int64_t>(content.size()) > max_bytes) {
      throw bad_input(path, fmt::format("at most {} bytes when unpacked", max_bytes), "more");
    }
    if (status == Z_STREAM_END) {
      if (z->avail_in == 0 && unfed == 0) return content;
      if (inflateReset(z.get()) != Z_OK) throw bad_input(path, "a gzip stream", "a corrupt one");  // next member
      continue;
    }
    const bool starved = z->avail_in == 0 && unfed == 0 && z->avail_out != 0;
    if (status == Z_BUF_ERROR || (status == Z_OK && starved)) {
      throw bad_input(path, "a complete gzip stream", "one that is cut off");
    }
    if (status != Z_OK) throw bad_input(path, "a gzip stream", z->msg != nullptr ? z->msg : "a corrupt one");
  }
}

/// The file that a link leads to: it is what is replaced, not the link (/dev/stdout is one).
std::string behind_links(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_symlink(path, error)) return path;
  const std::filesystem::path place = std::filesystem::canonical(path, error);
  return error ? path : place.string();
}

}  // namespace

std::string read_file(const std::string& path, std::int64_t max_bytes) {
  std::string content;
  if (path == "-") {
    content = slurp(stdin, "stdin", max_bytes);
  } else {
    struct stat info {};
    if (stat(path.c_str(), &info) != 0) throw bad_input(path, "a readable file", std::strerror(errno));
    if (S_ISDIR(info.st_mode)) throw bad_input(path, "a file", "a folder");
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
    if (!file) throw bad_input(path, "a readable file", std::strerror(errno));
    content = slurp(file.get(), path, max_bytes);
  }
  if (content.size() >= 2 && content[0] == '\x1f' && content[1] == '\x8b') {
    return gunzip(content, path == "-" ? "stdin" : path, max_bytes);
  }
  return content;
}

void write_file(const std::string& path, std::string_view content) {
  if (path == "-") {
    const std::size_t put = std::fwrite(content.data(), 1, content.size(), stdout);
    if (put != content.size() || std::fflush(stdout) != 0) throw bad_input("stdout", "a writable stream", "an error");
    return;
  }
  struct stat info {};
  if (stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {  // /dev/null and pipes can't be renamed over
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "wb"), &std::fclose);
    if (!file || std::fwrite(content.data(), 1, content.size(), file.get()) != content.size() ||
        std::fflush(file.get()) != 0) {  // a full device tells only when the buffer is flushed
      throw bad_input(path, "a writable file", std::strerror(errno));
    }
    return;
  }
  const std::string place = behind_links(path), temporary = fmt::format("{}.tmp.{}", place, getpid());
  std::FILE* file = std::fopen(temporary.c_str(), "wb");
  if (file == nullptr) throw bad_input(path, "a writable file", std::strerror(errno));
  const bool written = std::fwrite(content.data(), 1, content.size(), file) == content.size();
  const bool closed = std::fclose(file) == 0;
  if (!written || !closed || std::rename(temporary.c_str(), place.c_str()) != 0) {
    const std::string reason = std::strerror(errno);
    std::remove(temporary.c_str());
    throw bad_input(path, "a writable file", reason);
  }
}

void require_writable(const std::string& path) {
  if (path == "-") return;
  struct stat info {};
  const bool there = stat(path.c_str(), &info) == 0;
  if (there && S_ISDIR(info.st_mode)) throw bad_input(path, "a writable file", "a folder");
  // A plain file is replaced, which asks for its folder; "/." holds only of folders.
  const std::string folder = std::filesystem::path(behind_links(path)).parent_path().string();
  const bool in_place = there && !S_ISREG(info.st_mode);
  const int failed =
      in_place ? access(path.c_str(), W_OK) : access(((folder.empty() ? "." : folder) + "/.").c_str(), W_OK | X_OK);
  if (failed != 0) throw bad_input(path, "a writable file", std::strerror(errno));
}

}  // namespace espalier::core
