// compare --html: the page is whole, safe, bounded and needs nothing from outside.

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "../viz/xml_check.h"
#include "apps/html_text.h"
#include "command.h"

namespace espalier::apps {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Html : public CommandTest {};

/// The body as XML: void elements of the head left out, line breaks that HTML doesn't close closed.
std::string body_of(const std::string& page) {
  const std::size_t begin = page.find("<body>"), end = page.find("</body>");
  if (begin == std::string::npos || end == std::string::npos) return "";
  std::string body = page.substr(begin, end + 7 - begin);
  const std::string pause = "<wbr>";
  for (std::size_t at = body.find(pause); at != std::string::npos; at = body.find(pause, at)) {
    body.erase(at, pause.size());
  }
  return body;
}

/// Anything a browser would fetch or run.
void expect_self_contained(const std::string& page) {
  for (const char* outside : {"http:", "https:", "//", "<script", "<link", "<img", "<iframe", "<object", "@import",
                              "url(", "src=", "javascript:", " onload", " onerror="}) {
    EXPECT_EQ(page.find(outside), std::string::npos) << outside;
  }
}

TEST_F(Html, PageOfOneInputTellsTheWholeStory) {
  const Result r = run("compare --family doc_qa:docs=2,questions=8 --no-timing --html report.html --json report.json");
  ASSERT_EQ(r.code, 0) << r.err;
  const std::string page = read("report.html");
  EXPECT_EQ(viz::xml_fault(body_of(page)), "");
  expect_self_contained(page);
  std::size_t at = 0;  // in this order, verdict first
  for (const char* part : {"class=\"verdict\"", "Time a layer", ">Forest<", "Who reads what", "Timelines",
                           "Where SM time goes", "What would help", "How to see this again"}) {
    const std::size_t found = page.find(part, at);
    ASSERT_NE(found, std::string::npos) << part;
    at = found;
  }
  EXPECT_THAT(
      page, HasSubstr("<pre>espalier compare --family doc_qa:docs=2,questions=8 --no-timing --html report.html</pre>"));
  EXPECT_THAT(page, AllOf(HasSubstr("prefers-color-scheme:dark"), HasSubstr("width=device-width"),
                          HasSubstr("flash_<wbr>decoding"), HasSubstr("HBM bandwidth +10 %")));
  EXPECT_THAT(r.out, HasSubstr("verdict: "));
  EXPECT_TRUE(exists("report.json"));
}

TEST_F(Html, SameCommandWritesTheSameBytes) {
  const std::string command = "compare --family rag --tree '1,8|4000,100' --strategy codec,pat,espalier --no-timing ";
  ASSERT_EQ(run(command + "--html a.html --jobs 1").code, 0);
  const Result to_stdout = run(command + "--html - --jobs 2");
  EXPECT_EQ(read("a.html"), to_stdout.out);
}

TEST_F(Html, SeveralInputsAndDevicesHaveASectionEach) {
  const Result r =
      run("compare --tree '1,8|4000,100' --tree '64|300' --device h100-sxm --device a100-80 --no-timing --strategy "
          "cascade,codec,flash_decoding --html r.html");
  ASSERT_EQ(r.code, 0) << r.err;
  const std::string page = read("r.html");
  EXPECT_EQ(viz::xml_fault(body_of(page)), "");
  EXPECT_THAT(page, AllOf(HasSubstr("All 2 inputs on h100-sxm"), HasSubstr("All 2 inputs on a100-80"),
                          HasSubstr("id=\"s4\""), HasSubstr("href=\"#s4\""), Not(HasSubstr("id=\"s5\""))));
  EXPECT_LT(page.find("All 2 inputs"), page.find("id=\"s1\""));
  EXPECT_THAT(page, HasSubstr("Sharing is not worth it here"));
}

TEST_F(Html, HostileNamesAreText) {
  write("evil.jsonl",
        R"({"name": "<script>alert(1)</script>", "parent": [-1, 0, 0], "tokens": [500, 5, 6], "leaf": [1, 2]})");
  ASSERT_EQ(run("trace gen --tree '1,2|64,8' -o '<script>alert(2)<.json'").code, 0);
  const Result r = run(
      "compare --forest evil.jsonl '<script>alert(2)<.json' --strategy codec,flash_decoding --no-timing --html r.html");
  ASSERT_EQ(r.code, 0) << r.err;
  const std::string page = read("r.html");
  expect_self_contained(page);
  EXPECT_EQ(viz::xml_fault(body_of(page)), "");
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(2)&lt;"));
}

TEST_F(Html, ManyInputsStayUnderTheLimit) {
  std::string names;
  for (int i = 0; i < 40; ++i) {
    std::vector<int> parents = {-1}, tokens = {2000}, leaves;
    for (int r = 1; r <= 150; ++r) {
      parents.push_back(0);
      tokens.push_back(100 + 37 * ((r * (i + 3)) % 41));
      leaves.push_back(r);
    }
    const std::string name = fmt::format("f{}.jsonl", i);
    write(name, fmt::format("{{\"parent\": [{}], \"tokens\": [{}], \"leaf\": [{}]}}", fmt::join(parents, ","),
                            fmt::join(tokens, ","), fmt::join(leaves, ",")));
    names += fmt::format(" {}", name);
  }
  const Result r =
      run("compare --forest" + names + " --strategy flash_decoding,deft_flatten --no-timing --html r.html");
  ASSERT_EQ(r.code, 0) << r.err;
  const std::string page = read("r.html");
  EXPECT_LT(page.size(), 4U << 20U);
  EXPECT_THAT(page, HasSubstr("id=\"s40\""));
}

TEST_F(Html, WrongUseWritesNothing) {
  const Result folder = run("compare --tree '1,2|64,8' --strategy codec --html no/such/r.html");
  EXPECT_EQ(folder.code, 3);
  EXPECT_THAT(folder.err, HasSubstr("no/such/r.html"));
  EXPECT_EQ(std::count(folder.err.begin(), folder.err.end(), '\n'), 1) << folder.err;
  const Result study = run("compare --tree '1,2|64,8' --strategy codec --study cost-models --html r.html");
  EXPECT_EQ(study.code, 2);
  EXPECT_THAT(study.err, HasSubstr("--html"));
  const Result refused = run("compare --tree '2,4|64,8' --strategy relay --no-timing --html r.html");
  EXPECT_EQ(refused.code, 1);  // the page says so, too
  EXPECT_THAT(read("r.html"), HasSubstr("No strategy can serve this input"));
  EXPECT_EQ(files(), 1U);
}

TEST(HtmlText, MicrosecondsGetTheirSign) {
  EXPECT_EQ(html_text("12.3 us, 4 uses, 5 us +- 1 %"), "12.3 µs, 4 uses, 5 µs ± 1 %");
  EXPECT_EQ(html_text("a us <b>"), "a us &lt;b&gt;");
  EXPECT_EQ(html_name("a_b:c<"), "a_<wbr>b:<wbr>c&lt;");
}

}  // namespace
}  // namespace espalier::apps
