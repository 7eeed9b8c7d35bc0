// The foundation: what a wrong document is told, that files are whole or absent, that equal seeds give equal numbers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/rng.h"
#include "core/text.h"
#include "core/units.h"

namespace espalier::core {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

/// The sentence and kind of the Error that `action` throws; anything else fails the test.
std::string message_of(const std::function<void()>& action, ErrorKind kind = ErrorKind::bad_input) {
  try {
    action();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

std::string parse_message(std::string_view text) {
  return message_of([&] { JsonDocument::parse(text, "f.json"); });
}

std::string temporary_folder() {
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  const auto folder = std::filesystem::temp_directory_path() /
                      ("espalier_" + std::string(test->name()) + "_" + std::to_string(getpid()));
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder.string();
}

void put(const std::string& path, const std::string& content) { std::ofstream(path, std::ios::binary) << content; }

/// gzip -n of "hello espalier\n", so that the tests need no compressor.
const std::string kHelloGzip(
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x48\xcd\xc9\xc9\x57\x48"
    "\x2d\x2e\x48\xcc\xc9\x4c\x2d\xe2\x02\x00\xed\xcf\xbd\xd5\x0f\x00\x00\x00",
    35);

TEST(Json, NamesThePathOfAWrongValue) {
  const auto document = JsonDocument::parse(R"({"rows":[{"a":1},{"a":"x\ny"}]})", "f.jsonl", 7);
  const auto rows = document.root().at("rows");
  EXPECT_EQ(message_of([&] { rows.at(1).at("a").integer(0); }),
            "f.jsonl:7: rows[1].a: expected an integer >= 0, got \"x\\ny\"");
  EXPECT_EQ(message_of([&] { rows.at(0).at("b"); }), "f.jsonl:7: rows[0]: expected key \"b\", got none");
  EXPECT_EQ(message_of([&] { rows.at(0).at("a").integer(2, 5); }),
            "f.jsonl:7: rows[0].a: expected an integer from 2 to 5, got 1");
  EXPECT_THAT(message_of([&] { rows.integers(); }), HasSubstr("rows[0]: expected an integer, got an object"));
  EXPECT_THAT(message_of([&] { rows.at(2); }), HasSubstr("f.jsonl:7: rows: expected more than 2 elements"));
}

TEST(Json, TakesWholeNumbersOnlyAsIntegers) {
  const auto document = JsonDocument::parse("[1.0, 1e3, 9223372036854775808, -9223372036854775808, true]", "f");
  for (const std::size_t i : {0U, 1U, 2U, 4U}) EXPECT_THROW(document.root().at(i).integer(), Error) << i;
  EXPECT_EQ(document.root().at(std::size_t{3}).integer(), std::numeric_limits<std::int64_t>::min());
  EXPECT_THROW(document.root().at(std::size_t{4}).number(), Error);
}

TEST(Json, RejectsDuplicateKeysAtAnyDepth) {
  EXPECT_EQ(parse_message(R"({"a":1,"a":2})"), "f.json: expected each key once, got key \"a\" twice");
  EXPECT_THAT(parse_message(R"({"x":[{"b":{"c":1,"c":1}}]})"), HasSubstr("key \"c\" twice"));
  EXPECT_NO_THROW(JsonDocument::parse(R"([{"a":1},{"a":2,"b":{"a":3}}])", "f"));
}

TEST(Json, RejectsBrokenText) {
  EXPECT_THAT(parse_message("{\"a\":1} x"), HasSubstr("f.json: expected JSON"));
  for (const char* text : {"", "{", "[1,]", "{\"a\":1e999}", "\"\xff\"", "nul", "[NaN]"}) {
    EXPECT_THAT(parse_message(text), HasSubstr("f.json: expected")) << text;
  }
  EXPECT_THAT(parse_message(std::string(100000, '[')), HasSubstr("64 nested levels"));
}

TEST(Json, AllowsOnlyListedKeysAndFreeOnes) {
  const auto document = JsonDocument::parse(R"({"a":1,"x_note":2,"colour":3})", "f");
  EXPECT_EQ(message_of([&] {
              document.root().allow_only({"a", "b"});
            }),
            "f: expected only the keys a, b, got \"colour\"");
  EXPECT_NO_THROW(document.root().allow_only({"a", "colour"}));
}

TEST(Json, TellsANewerMajorFromAnotherSchema) {
  const auto document = JsonDocument::parse(R"({"schema":"plan/2"})", "f");
  EXPECT_THAT(message_of([&] { document.root().require_schema("plan/1"); }), HasSubstr("this program reads major 1"));
  EXPECT_EQ(message_of([&] { document.root().require_schema("forest/1"); }),
            "f: schema: expected \"forest/1\", got \"plan/2\"");
  EXPECT_NO_THROW(document.root().require_schema("plan/2"));
}

TEST(Json, WriterRoundTripsNumbersAndText) {
  const std::vector<double> numbers{0.1, 1e-300, 1.0 / 3.0, -0.0, 123456789012345678.0, 5e-324};
  const std::string odd = "quote \" slash \\ tab \t line \n umlaut \xc3\xa4";
  JsonWriter out;
  out.begin_object().field("numbers", numbers).field("odd", odd).field("big", std::numeric_limits<std::int64_t>::min());
  out.field("none", std::nan("")).key("nested").begin_array().begin_object().field("a", true).end_object();
  out.end_array().end_object();
  const std::string text = out.finish();
  EXPECT_EQ(text.back(), '\n');
  const auto document = JsonDocument::parse(text, "f");
  EXPECT_EQ(document.root().at("numbers").numbers(), numbers);
  EXPECT_EQ(document.root().at("odd").string(), odd);
  EXPECT_EQ(document.root().at("big").integer(), std::numeric_limits<std::int64_t>::min());
  EXPECT_TRUE(document.root().at("none").is_null());
  EXPECT_TRUE(document.root().at("nested").at(std::size_t{0}).at("a").boolean());
}

TEST(Json, WriterReplacesBytesThatAreNotText) {
  JsonWriter out;
  EXPECT_EQ(out.value(std::string_view("a\xff")).finish(), "\"a\xef\xbf\xbd\"\n");
}

TEST(Json, LinesKeepTheirNumbers) {
  const auto lines = json_lines("{}\n\n  \r\n[1]\r\n3");
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[1].number, 4);
  EXPECT_EQ(lines[2].number, 5);
  EXPECT_EQ(lines[2].text, "3");
  EXPECT_TRUE(json_lines("").empty());
}

TEST(File, ReadsPlainAndPackedContent) {
  const std::string folder = temporary_folder();
  put(folder + "/plain", "abc");
  put(folder + "/packed", kHelloGzip);
  put(folder + "/twice", kHelloGzip + kHelloGzip);
  EXPECT_EQ(read_file(folder + "/plain"), "abc");
  EXPECT_EQ(read_file(folder + "/packed"), "hello espalier\n");
  EXPECT_EQ(read_file(folder + "/twice"), "hello espalier\nhello espalier\n");
  std::filesystem::remove_all(folder);
}

TEST(File, RejectsEveryTruncationAndCorruption) {
  const std::string folder = temporary_folder();
  for (std::size_t length = 2; length < kHelloGzip.size(); ++length) {
    put(folder + "/cut", kHelloGzip.substr(0, length));
    EXPECT_THAT(message_of([&] { read_file(folder + "/cut"); }),
                AllOf(HasSubstr("/cut: expected"), HasSubstr("cut off")))
        << length;
  }
  std::string corrupt = kHelloGzip;
  corrupt[kHelloGzip.size() - 6] ^= 1;  // inside the checksum
  put(folder + "/corrupt", corrupt);
  EXPECT_THAT(message_of([&] { read_file(folder + "/corrupt"); }), HasSubstr("expected a gzip stream"));
  std::filesystem::remove_all(folder);
}

TEST(File, NamesWhatCannotBeReadAndHonoursTheLimit) {
  const std::string folder = temporary_folder();
  EXPECT_THAT(message_of([&] { read_file(folder + "/missing"); }), HasSubstr("/missing: expected a readable file"));
  EXPECT_THAT(message_of([&] { read_file(folder); }), HasSubstr("expected a file, got a folder"));
  put(folder + "/packed", kHelloGzip);
  EXPECT_THAT(message_of([&] { read_file(folder + "/packed", 14); }), HasSubstr("at most 14 bytes"));
  put(folder + "/plain", "12345");
  EXPECT_THAT(message_of([&] { read_file(folder + "/plain", 4); }), HasSubstr("at most 4 bytes"));
  EXPECT_EQ(read_file(folder + "/plain", 5), "12345");
  std::filesystem::remove_all(folder);
}

TEST(File, WritesAllOrNothing) {
  const std::string folder = temporary_folder();
  const std::string path = folder + "/out.json";
  write_file(path, "old");
  write_file(path, "new");
  EXPECT_EQ(read_file(path), "new");
  EXPECT_THAT(message_of([&] { write_file(folder + "/no/such/folder/f", "x"); }),
              HasSubstr("expected a writable file"));
  std::filesystem::create_directories(folder + "/taken/child");
  EXPECT_THROW(write_file(folder + "/taken", "x"), Error);
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path().filename());
  EXPECT_THAT(names, testing::UnorderedElementsAre("out.json", "taken")) << "no temporary file is left behind";
  std::filesystem::remove_all(folder);
}

TEST(File, ReplacesWhatALinkLeadsToAndNotTheLink) {
  const std::string folder = temporary_folder();
  std::filesystem::create_directory(folder + "/real");
  put(folder + "/real/f", "old");
  std::filesystem::create_symlink("real/f", folder + "/one");
  std::filesystem::create_symlink("one", folder + "/two");
  write_file(folder + "/two", "new");
  EXPECT_EQ(read_file(folder + "/real/f"), "new");
  EXPECT_TRUE(std::filesystem::is_symlink(folder + "/one") && std::filesystem::is_symlink(folder + "/two"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder + "/real"), {}), 1) << "no temporary file";
  std::filesystem::remove_all(folder);
}

TEST(File, TellsBeforehandWhereNothingCanBeWritten) {
  const std::string folder = temporary_folder();
  put(folder + "/f", "old");
  const auto refusal = [](const std::string& path) { return message_of([&] { require_writable(path); }); };
  EXPECT_THAT(refusal(folder + "/no/f"),
              AllOf(HasSubstr("/no/f: expected a writable file"), HasSubstr("No such file")));
  EXPECT_THAT(refusal(folder + "/f/g"), HasSubstr("/f/g: expected a writable file, got Not a directory"));
  EXPECT_THAT(refusal(folder), HasSubstr("expected a writable file, got a folder"));
  for (const std::string& path : {folder + "/f", folder + "/new", std::string("new"), std::string("-")}) {
    EXPECT_NO_THROW(require_writable(path)) << path;
  }
  EXPECT_NO_THROW(require_writable("/dev/null")) << "whoever may not write its folder";
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1) << "no trace";
  EXPECT_EQ(read_file(folder + "/f"), "old");
  std::filesystem::remove_all(folder);
}

TEST(File, KeepsTheOldContentWhenTheDiskIsFull) {
  const std::string folder = temporary_folder();
  put(folder + "/f", "old");
  rlimit limit{}, small{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  small = {1000, limit.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  bool refused = false;
  try {
    write_file(folder + "/f", std::string(100000, 'x'));
  } catch (const Error&) {
    refused = true;
  }
  setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(refused);
  EXPECT_EQ(read_file(folder + "/f"), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1) << "no temporary file is left behind";
  std::filesystem::remove_all(folder);
}

TEST(File, ReportsAFullDevice) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full on this machine";
  EXPECT_THAT(message_of([] { write_file("/dev/full", "x"); }), HasSubstr("/dev/full: expected a writable file"));
  EXPECT_NO_THROW(write_file("/dev/null", "x"));
}

TEST(Hash, DependsOnWhereAColumnEnds) {
  const auto digest = [](const std::vector<std::int32_t>& a, const std::vector<std::int32_t>& b) {
    Hasher hash;
    hash.column(a);
    hash.column(b);
    return hash.digest();
  };
  EXPECT_NE(digest({1, 2}, {3}), digest({1}, {2, 3}));
  EXPECT_NE(digest({}, {1}), digest({1}, {}));
  EXPECT_EQ(digest({1, 2}, {3}), digest({1, 2}, {3}));
  EXPECT_EQ(hash_text(0xABCULL), "0000000000000abc");
}

TEST(Hash, TakesTextsOfAnyLengthByTheirBytes) {
  for (const std::string_view alphabet : {"0123456789abcdefghij", "zyxwvutsrqponmlkjihg"}) {
    Hasher texts, bytes;
    for (std::size_t i = 0; i < 4000; ++i) {  // many times around what a hasher collects
      const std::string_view text = alphabet.substr(i % 7, i % 13);
      texts.text(text);
      bytes.value(static_cast<std::uint64_t>(text.size()));
      bytes.bytes(text.data(), text.size());
    }
    EXPECT_EQ(texts.digest(), bytes.digest());
  }
}

TEST(Rng, RepeatsForEqualSeeds) {
  Rng a(7), b(7), c(8);
  EXPECT_EQ(a.bits(), b.bits());
  EXPECT_NE(a.bits(), c.bits());
  // Pinned: files made from a seed today must come out the same tomorrow and on other machines.
  EXPECT_EQ(random_bits(1, 0), 0x910A2DEC89025CC1ULL);
  EXPECT_EQ(random_bits(0, 0), 0xE220A8397B1DCDAFULL);
}

TEST(Rng, StaysInRangeAndReachesBothEnds) {
  Rng rng(3);
  std::vector<int> seen(4, 0);
  for (int i = 0; i < 400; ++i) ++seen[static_cast<std::size_t>(rng.integer(-1, 2) + 1)];
  for (const int count : seen) EXPECT_NEAR(count, 100, 40);
  EXPECT_EQ(rng.integer(5, 5), 5);
  const auto low = std::numeric_limits<std::int64_t>::min(), high = std::numeric_limits<std::int64_t>::max();
  EXPECT_NE(rng.integer(low, high), rng.integer(low, high));
  for (int i = 0; i < 1000; ++i) {
    const double u = rng.uniform();
    EXPECT_TRUE(u >= 0.0 && u < 1.0);
  }
}

TEST(Rng, HasTheMomentsItPromises) {
  Rng rng(5);
  double sum = 0, squares = 0, failures = 0, below_median = 0;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) {
    const double x = rng.normal();
    sum += x;
    squares += x * x;
    failures += static_cast<double>(rng.geometric(0.25));
    below_median += rng.log_normal(7000, 1.3) < 7000 ? 1 : 0;
  }
  EXPECT_NEAR(sum / kDraws, 0.0, 0.03);
  EXPECT_NEAR(squares / kDraws, 1.0, 0.05);
  EXPECT_NEAR(failures / kDraws, 3.0, 0.1);
  EXPECT_NEAR(below_median / kDraws, 0.5, 0.02);
}

TEST(Rng, BoundsDrawsFromExtremeParameters) {
  Rng rng(9);
  for (int i = 0; i < 100; ++i) {
    EXPECT_GE(rng.geometric(1e-300), 0);
    EXPECT_GE(rng.log_normal(1e-9, 50.0), 1);
    EXPECT_EQ(rng.geometric(1.0), 0);
  }
  EXPECT_THROW(rng.geometric(0.0), InvariantError);
}

TEST(Text, FormatsThreeDigitsWithoutSpillingOverAUnit) {
  EXPECT_EQ(bytes_text(1023), "1023 B");
  EXPECT_EQ(bytes_text(1536), "1.50 KiB");
  EXPECT_EQ(bytes_text(kMiB - 1), "1.00 MiB");
  EXPECT_EQ(bytes_text(80 * kGiB), "80.0 GiB");
  EXPECT_EQ(time_text(0.812), "812 ns");
  EXPECT_EQ(time_text(12.34), "12.3 us");
  EXPECT_EQ(time_text(999.7), "1.00 ms");
  EXPECT_EQ(time_text(4560), "4.56 ms");
  EXPECT_EQ(time_text(2.5e6), "2.50 s");
  EXPECT_EQ(count_text(99999), "99999");
  EXPECT_EQ(count_text(123456), "123 k");
  EXPECT_EQ(count_text(999999), "1.00 M");
  EXPECT_EQ(count_text(4560000), "4.56 M");
}

TEST(Text, CountsOneWithoutAnS) {
  EXPECT_EQ(counted(0, "root"), "0 roots");
  EXPECT_EQ(counted(1, "root"), "1 root");
  EXPECT_EQ(counted(2, "root"), "2 roots");
}

TEST(Text, ParsesWholeWordsOnly) {
  EXPECT_EQ(parse_integer("-12"), -12);
  for (const char* text : {"", "12x", " 1", "1 ", "9223372036854775808", "0x10", "1.5", "+1"}) {
    EXPECT_EQ(parse_integer(text), std::nullopt) << text;
  }
  EXPECT_EQ(parse_number("2.5e3"), 2500.0);
  EXPECT_EQ(parse_number("+1"), 1.0);
  EXPECT_EQ(parse_number("+.5e1"), 5.0);
  for (const char* text :
       {"", "nan", "inf", "1e999", "1,5", "2.5x", "+", "+.", "++1", "+-1", "-+1", "+ 1", "+nan", "+inf", "+1x"}) {
    EXPECT_EQ(parse_number(text), std::nullopt) << text;
  }
  EXPECT_THAT(split("a,,b,", ','), ElementsAre("a", "", "b", ""));
}

TEST(Text, SuggestsTheNearestName) {
  const std::vector<std::string> names{"flash_decoding", "cascade", "codec"};
  EXPECT_EQ(unknown_name("strategy", "cascde", names), "unknown strategy 'cascde'; did you mean 'cascade'?");
  EXPECT_EQ(unknown_name("strategy", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", names),
            "unknown strategy 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'; known: flash_decoding, cascade, codec");
}

TEST(Text, ShellQuotedIsOneWordWhateverIsInIt) {
  EXPECT_EQ(shell_quoted("h100-sxm:hbm_gbps=5000"), "h100-sxm:hbm_gbps=5000");
  EXPECT_EQ(shell_quoted(""), "''");
  EXPECT_EQ(shell_quoted("two words"), "'two words'");
  EXPECT_EQ(shell_quoted("a';cmd;'.json"), "'a'\\'';cmd;'\\''.json'");
  EXPECT_EQ(shell_quoted("$(cmd)"), "'$(cmd)'");
}

TEST(Units, RefuseToWrap) {
  EXPECT_EQ(checked_mul(1000000000, 1152), 1152000000000);
  EXPECT_THROW(checked_mul(std::int64_t{1} << 40, std::int64_t{1} << 40), Error);
  EXPECT_THROW(checked_add(std::numeric_limits<std::int64_t>::max(), 1), Error);
  EXPECT_EQ(ceil_div(0, 16), 0);
  EXPECT_EQ(ceil_div(17, 16), 2);
  EXPECT_EQ(ceil_div(std::numeric_limits<std::int64_t>::max(), 2), std::int64_t{1} << 62);
}

TEST(Check, PrintsItsOperands) {
  try {
    ESPALIER_CHECK_OP(1 + 1, ==, 3);
    FAIL() << "nothing was thrown";
  } catch (const InvariantError& e) {
    EXPECT_THAT(e.what(), AllOf(HasSubstr("1 + 1 == 3"), HasSubstr("left 2, right 3")));
  }
}

}  // namespace
}  // namespace espalier::core
