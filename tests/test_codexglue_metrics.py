"""CodeXGLUE's text metrics: by hand, properties, and the numbers that its own evaluators print."""

import gzip
import json
import math
import os
import re
import subprocess
import sys

import pytest

from coderl_jax.files import UserError
from coderl_jax.metrics import parsing
from coderl_jax.metrics.bleu import corpus_bleu, mteval_tokens, ngram_match, smoothed_sentence_bleu, weighted_ngram_match
from coderl_jax.metrics.codebleu import codebleu
from coderl_jax.metrics.codexglue import codexglue_scores
from coderl_jax.metrics.dataflow import data_flow
from coderl_jax.metrics.set_order import set_order, string_hash

PARSED = ("java", "c_sharp", "python")
PROGRAMS = {
    "java": "public int sum ( int [ ] a ) { int s = 0 ; for ( int x : a ) { s += x ; } return s ; }",
    "c_sharp": "public virtual int Sum(int[] a){int s = 0;foreach (int x in a){s += x;}return s;}",
    "python": "def total(a):\n    s = 0\n    for x in a:\n        s += x\n    return s",
}


@pytest.fixture
def parsers():
    for package, _ in parsing.LANGUAGES.values():
        pytest.importorskip(package, reason="needs the extra `codexglue`")


def shape(code: str, language: str = "java") -> str:
    """Named nodes and parts of a program, as tree-sitter writes them."""

    def written(node):
        label = f"{node.field}: " if node.field else ""
        below = "".join(" " + written(child) for child in node.children if child.named or child.missing)
        return f"{label}({'MISSING ' if node.missing else ''}{node.kind}{below})"

    return written(parsing.parse(code, language))


def body(code: str) -> str:
    """Shape of a statement of Java, taken out of a method."""
    whole = shape(f"void f ( ) {{ {code} }}")
    return whole[whole.index("(block ") + len("(block ") : -2]


# BLEU


def test_corpus_bleu_adds_one_to_every_order():
    # Of the hypothesis's 4, 3, 2, 1 n-grams 3, 2, 1, 0 are in the reference: 4/5 * 3/4 * 2/3 * 1/2 = 1/5.
    assert corpus_bleu([list("abcd")], [list("abce")]) == pytest.approx(0.2**0.25)


def test_corpus_bleu_adds_up_the_pairs_before_it_divides():
    # Matches 3+1, 2+0, 1+0, 0+0; possible 4+2, 3+1, 2+0, 1+0.
    expected = (5 / 7 * 3 / 5 * 2 / 3 * 1 / 2) ** 0.25
    assert corpus_bleu([list("abcd"), list("xy")], [list("abce"), list("xz")]) == pytest.approx(expected)


def test_corpus_bleu_counts_a_repeated_token_as_often_as_the_reference_has_it():
    # One of three a's; of 2, 1, 0 longer n-grams none. The hypothesis is longer: no penalty.
    assert corpus_bleu([["a"]], [["a"] * 3]) == pytest.approx((2 / 4 * 1 / 3 * 1 / 2 * 1 / 1) ** 0.25)


def test_a_short_hypothesis_is_penalised_and_an_empty_one_scores_zero():
    # "a b" for "a b c d": all n-grams right, e^(1 - 4/2).
    assert corpus_bleu([list("abcd")], [list("ab")]) == pytest.approx(math.exp(-1))
    assert corpus_bleu([list("abcd")], [[]]) == 0.0
    assert corpus_bleu([[]], [list("ab")]) == 0.0


def test_ngram_match_takes_an_order_without_a_match_for_a_tenth_of_one():
    assert ngram_match([list("abcd")], [list("abce")]) == pytest.approx((3 / 4 * 2 / 3 * 1 / 2 * 0.1 / 1) ** 0.25)
    assert ngram_match([list("abcd")], [list("xyzw")]) == 0.0
    # Too short for 2, 3 and 4 tokens: still one n-gram each in the denominator.
    assert ngram_match([["a"]], [["a"]]) == pytest.approx((1 * 0.1 * 0.1 * 0.1) ** 0.25)


def test_weighted_ngram_match_is_a_recall_that_weighs_single_tokens():
    # Of "if a" the keyword is found: 1 of 1 + 0.2. No pair of tokens: 0.1 of 1, and so for the orders it is too short for.
    score = weighted_ngram_match([["if", "a"]], [["if", "b"]], {"if": 1.0}, 0.2)
    assert score == pytest.approx((1 / 1.2 * 0.1 * 0.1 * 0.1) ** 0.25)


def test_weighted_ngram_match_takes_every_reference_for_two_tokens_long():
    # "a" for "a b c d": 0.2 of 0.8, which counts as 1; 0.1 of 3, 2 and 1. Length 1 against 2, not 4: e^(1 - 2).
    score = weighted_ngram_match([list("abcd")], [["a"]], {}, 0.2)
    assert score == pytest.approx(math.exp(-1) * (0.2 / 1 * 0.1 / 3 * 0.1 / 2 * 0.1 / 1) ** 0.25)


def test_mteval_parts_words_and_signs_but_not_the_point_of_a_number():
    assert mteval_tokens("Returns the USER's x-y, 3.5 &quot;") == "returns the user ' s x - y , 3 . 5 & quot ;".split()
    assert mteval_tokens("a_b") == ["a", "_", "b"]


def test_smoothed_sentence_bleu_adds_one_from_the_second_order_on():
    # "the cat sat" for "the cat ran": 2 of 3, then (1 + 1) of (2 + 1), (0 + 1) of (1 + 1), (0 + 1) of (0 + 1).
    assert smoothed_sentence_bleu("the cat ran", "The cat sat") == pytest.approx((2 / 3 * 2 / 3 * 1 / 2 * 1) ** 0.25)
    # One word for three, right: e^(1 - 4/2).
    assert smoothed_sentence_bleu("the cat ran", "the") == pytest.approx(math.exp(-1))
    assert smoothed_sentence_bleu("the cat ran", "dogs") == pytest.approx(0, abs=1e-60)


def test_exact_match_compares_tokens_for_concode_and_lines_for_the_others(parsers):
    references, hypotheses = ["int f ( ) { }", "int g ( ) { }"], ["int  f ( ) { } ", " int g ( ) { }"]
    assert codexglue_scores("text_to_code", references, hypotheses)["EM"] == 100.0
    assert codexglue_scores("refinement", references, hypotheses)["Acc"] == 50.0
    assert codexglue_scores("refinement", references, hypotheses, with_codebleu=False) == {"BLEU": 100.0, "Acc": 50.0}


# Trees: what follows was read off the grammars of 2020.


def test_a_java_method_is_a_mended_declaration_an_error_and_a_block(parsers):
    assert shape("public int f ( int x ) { return x ; }") == (
        "(program (local_variable_declaration (modifiers) type: (integral_type) "
        "declarator: (variable_declarator name: (identifier)) (MISSING ;)) "
        "(ERROR (formal_parameters (formal_parameter type: (integral_type) name: (identifier)))) "
        "(block (return_statement (identifier))))"
    )


def test_java_comparisons_bind_tighter_than_sums(parsers):
    less = "(binary_expression left: (identifier) right: (identifier))"
    assert body("return a - b < c ;") == f"(return_statement (binary_expression left: (identifier) right: {less}))"
    assert body("return a * b < c ;") == f"(return_statement (binary_expression left: {less} right: (identifier)))"


def test_java_strings_are_tokens_and_cases_stand_side_by_side(parsers):
    assert body('f ( "" , "a\\"b" , \'"\' ) ;').endswith("(argument_list (string_literal) (string_literal) (character_literal))))")
    switch = body("switch ( x ) { case 1 : case 2 : f ( ) ; }")
    assert switch.endswith(
        "(switch_block (switch_label (decimal_integer_literal)) (switch_label (decimal_integer_literal)) "
        "(expression_statement (method_invocation name: (identifier) arguments: (argument_list)))))"
    )
    assert switch.startswith("(switch_statement ")


def test_a_java_throws_is_mended_to_a_statement_where_the_body_would_be_lost(parsers):
    code = "void METHOD_1 ( ) throws TYPE_1 { if ( ! ( VAR_1 . isEmpty ( ) ) ) { VAR_2 . METHOD_2 ( VAR_3 , VAR_4 ) ; } }"
    assert "(ERROR (formal_parameters)) (expression_statement (identifier) (MISSING ;)) (block (if_statement " in shape(code)


def test_a_java_quote_that_nothing_closes_takes_the_rest_of_its_line(parsers):
    cut, whole = shape('void f ( ) { g ( x , "a ) ; } h ( y ) ; }'), shape('void f ( ) { g ( x , "a" ) ; } h ( y ) ; }')
    assert cut.count("(identifier)") == 3  # f, g and x, nothing after the quote
    assert whole.count("(identifier)") == 5
    assert "(ERROR (ERROR)) (identifier)" in shape("void f ( ) { g ( x , \\n ) ; }")  # a backslash, and a name of its own


def test_a_java_switch_is_no_part_of_an_expression(parsers):
    broken = shape("void f ( int x ) { y = x + switch ( x ) { case 1 : g ( ) ; } ; }")
    assert "right: (switch" not in broken
    assert "(MISSING ;)) (block (labeled_statement (identifier) (ERROR (decimal_integer_literal))" in broken
    assert "(switch_statement condition: (parenthesized_expression (identifier))" in shape(
        "void f ( int x ) { switch ( x ) { case 1 : g ( ) ; } }"
    )


def test_a_java_body_without_its_last_brace_belongs_to_the_error(parsers):
    assert shape("int f ( ) { if ( a ) { b ( ) ; }").endswith(
        "(ERROR (formal_parameters) (if_statement condition: (parenthesized_expression (identifier)) consequence: (block "
        "(expression_statement (method_invocation name: (identifier) arguments: (argument_list)))))))"
    )
    assert shape("int f ( ) { if ( a ) { b ( ) ;").startswith("(ERROR ")
    assert shape("int f ( ) { } }").endswith("(block) (ERROR))")


def test_new_keywords_of_java_are_names(parsers):
    assert body("record = yield ( when ) ;") == body("a = b ( c ) ;")


def test_c_sharp_members_stand_alone_and_values_have_clauses(parsers):
    assert shape("void F(){int x = 1;this.y = x;}", "c_sharp") == (
        "(compilation_unit (method_declaration returns: (void_keyword) name: (identifier) parameters: (parameter_list) body: (block "
        "(local_declaration_statement (variable_declaration type: (predefined_type) (variable_declarator name: (identifier) "
        "value: (equals_value_clause (integer_literal))))) (expression_statement (assignment_expression left: "
        "(member_access_expression expression: (this_expression) name: (identifier)) (assignment_operator) right: (identifier))))))"
    )


def test_c_sharp_cases_with_one_body_share_a_section(parsers):
    switch = shape("void F(){switch(a){case 1: case B: return; default: break;}}", "c_sharp")
    assert (
        "(switch_section (case_switch_label (integer_literal)) (case_switch_label (identifier)) (return_statement)) "
        "(switch_section (default_switch_label) (break_statement))" in switch
    )


def test_comments_go_and_literals_stay():
    assert parsing.without_comments("a /* b */ c // d\n\n\"// e\" '/*'") == "a   c  \n\"// e\" '/*'"


# Data flow


def test_java_flows_are_numbered_and_unconnected_ones_dropped(parsers):
    # f and the mended semicolon lead nowhere. In the order of the text: x from 1; 1; y from x; x, used; y, used.
    # 1 is met first (number 0), then x (1), then y (2).
    code = "int f ( ) { int x = 1 ; int y = x ; return y ; }"
    assert data_flow(parsing.parse(code, "java"), code, "java") == [
        (1, "comesFrom", (0,)),
        (0, "comesFrom", ()),
        (2, "comesFrom", (1,)),
        (1, "comesFrom", (1,)),
        (2, "comesFrom", (2,)),
    ]


def test_an_assignment_computes_and_an_increment_computes_from_itself(parsers):
    code = "void f ( int x ) { x = x + 1 ; x ++ ; }"
    flows = data_flow(parsing.parse(code, "java"), code, "java")
    # The parameter; x computed from x and 1, joined; x, used; 1; x computed from itself.
    assert [relation for _, relation, _ in flows] == ["comesFrom", "computedFrom", "comesFrom", "comesFrom", "computedFrom"]
    assert sorted(flows[1][2]) == [0, 1]
    assert flows[4] == (0, "computedFrom", (0,))


def test_a_loop_is_read_twice_so_that_the_second_round_sees_the_first(parsers):
    once, twice = "void f ( ) { g ( a ) ; a = 1 ; }", "void f ( ) { while ( b ) { g ( a ) ; a = 1 ; } }"
    uses = [data_flow(parsing.parse(code, "java"), code, "java") for code in (once, twice)]
    assert len(uses[0]) == len([flow for flow in uses[1] if flow[1] == "computedFrom"]) + 1  # a computed from 1, and 1
    assert len(uses[1]) > len(uses[0])  # a and g, used again, come from somewhere


@pytest.mark.parametrize("language", PARSED)
def test_a_renamed_variable_changes_no_flow(parsers, language):
    renamed = re.sub(r"\bx\b", "another", PROGRAMS[language])
    scores = codebleu([PROGRAMS[language]], [renamed], language)
    assert scores["dataflow"] == 1.0
    assert scores["ngram"] < 1


def test_python_assigns_part_by_part_and_in_comprehensions(parsers):
    code = "a, b = c, d\ne = [f for f in a]"
    flows = data_flow(parsing.parse(code, "python"), code, "python")
    computed = [flow for flow in flows if flow[1] == "computedFrom"]
    # a from c, b from d; e from f, f and a; f from a.
    assert [len(sources) for _, _, sources in computed] == [1, 1, 3, 1]


def test_a_program_that_cannot_be_read_has_no_flow(parsers):
    deep = "void f ( ) { x = " + "( " * 3000 + "1" + " )" * 3000 + " ; }"
    assert data_flow(parsing.parse(deep, "java"), deep, "java") == []


# CodeBLEU


@pytest.mark.parametrize("language", PARSED)
def test_a_program_is_worth_one_to_itself(parsers, language):
    scores = codebleu([PROGRAMS[language]] * 2, [PROGRAMS[language]] * 2, language)
    assert scores == {"ngram": 1.0, "weighted_ngram": 1.0, "syntax": 1.0, "dataflow": 1.0, "CodeBLEU": 1.0}


def test_syntax_is_the_share_of_the_references_subtrees(parsers):
    # The reference has 11: program, declaration, int, declarator, error, parameters, parameter, int, block, return, sum. The last
    # is another in the hypothesis, and with it return, block and program.
    scores = codebleu(["int f ( int x ) { return x + x ; }"], ["int f ( int x ) { return - x ; }"], "java")
    assert scores["syntax"] == pytest.approx(7 / 11)


def test_codebleu_is_the_mean_of_its_parts(parsers):
    scores = codebleu(["int f ( int x ) { x = 1 ; return x ; }"], ["int f ( int y ) { return y ; }"], "java")
    parts = [scores[name] for name in ("ngram", "weighted_ngram", "syntax", "dataflow")]
    assert scores["CodeBLEU"] == pytest.approx(sum(parts) / 4)
    assert 0 < min(parts) < max(parts) < 1


@pytest.mark.parametrize("language", PARSED)
@pytest.mark.parametrize(
    "text", ["", "\0", "{{{", "}}}", '"', "'", "int f(", 'é = "ü\ud800"', "a\r\nb", "{" * 3000, "(" * 3000, "a+" * 3000]
)
def test_whatever_a_model_writes_has_a_score_below_one(parsers, language, text):
    scores = codebleu([PROGRAMS[language], PROGRAMS[language]], [text, PROGRAMS[language]], language)
    assert 0.4 < scores["CodeBLEU"] < 1
    assert codebleu([text], [PROGRAMS[language]], language)["dataflow"] <= 1


# The order of sets


def in_another_python(code: str, hash_seed: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True
    ).stdout


def test_sets_are_in_the_order_of_cpython_without_a_hash_seed():
    names = [text + "é→😀"[: i % 4] for i, text in enumerate("x y VAR_1 METHOD_12 aVeryLongNameOfAVariable 0 INT_1 this_one".split() * 3)]
    lists = [names[:n] for n in range(len(names))] + [[f"VAR_{i}" for i in range(n)] for n in (5, 6, 20, 77, 400)]
    script = f"import json; print(json.dumps([[list(set(names)) for names in {lists!r}], [hash(n) % 2**64 for n in {names!r}]]))"
    orders, hashes = json.loads(in_another_python(script, "0"))
    assert [set_order(names) for names in lists] == orders
    assert [string_hash(name) for name in names] == hashes


def test_scores_do_not_depend_on_the_hash_seed(parsers):
    reference = "int f ( int a , int b ) { int c = 0 ; while ( a < b ) { c = c + a * b ; a ++ ; } return c ; }"
    hypothesis = reference.replace("c + a", "a - c")
    script = f"from coderl_jax.metrics.codebleu import codebleu; print(codebleu([{reference!r}], [{hypothesis!r}], 'java'))"
    assert len({in_another_python(script, seed) for seed in ("0", "1", "2", "3")}) == 1


# The reference


def rows(shared, name: str) -> list[dict]:
    with gzip.open(shared / "data" / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def reference_scores(shared) -> dict:
    return json.loads((shared / "data" / "codexglue_reference_scores.json").read_text())


# Grammars of 2020 mend broken programs in ways of their own. (syntax, dataflow): how far apart the numbers may be.
APART = {"trans_cs_java": (3e-4, 1e-3), "refine_small": (4.1e-4, 1e-4)}


@pytest.mark.shared
@pytest.mark.parametrize(("name", "task"), [("trans_cs_java", "code_to_code_java"), ("refine_small", "refinement")])
def test_scores_of_two_baselines_are_what_codexglue_prints(shared, parsers, name, task):
    # Another Python checks no types, which would take ten times as long as the scores.
    file = shared / "data" / f"codexglue_outputs_{name}.jsonl.gz"
    script = f"""
import json
from coderl_jax.files import read_jsonl
from coderl_jax.metrics.codexglue import codexglue_scores
pairs = [row for _, row in read_jsonl({str(file)!r})]
print(json.dumps(codexglue_scores({task!r}, [pair["gold"] for pair in pairs], [pair["output"] for pair in pairs])))
"""
    scores = json.loads(in_another_python(script, "random"))
    printed = reference_scores(shared)[name]
    with_seed = printed["PYTHONHASHSEED0"]
    assert (scores["BLEU"], scores["Acc"]) == (printed["BLEU"], printed["Acc"])
    assert scores["ngram"] == with_seed["ngram"]
    assert scores["weighted_ngram"] == with_seed["weighted_ngram"]
    syntax, dataflow = APART[name]
    assert scores["syntax"] == pytest.approx(with_seed["syntax"], abs=syntax)
    assert scores["dataflow"] == pytest.approx(with_seed["dataflow"], abs=dataflow)
    assert scores["CodeBLEU"] == pytest.approx(with_seed["CodeBLEU"], abs=(syntax + dataflow) / 4)


@pytest.mark.shared
def test_scores_of_the_evaluators_samples_are_what_codexglue_prints(shared, parsers):
    pairs = rows(shared, "codexglue_evaluator_samples.jsonl.gz")
    printed = reference_scores(shared)["samples"]

    def scores(sample: str, task: str) -> dict:
        chosen = [(pair["gold"], pair["output"]) for pair in pairs if pair["task"] == sample]
        if task == "code_to_text":  # number, tab, summary
            chosen = [(gold.split("\t")[1], output.split("\t")[1]) for gold, output in chosen]
        return codexglue_scores(task, *(list(side) for side in zip(*chosen, strict=True)))

    translation = scores("trans", "code_to_code_java")
    assert {f"java_{part}": translation[part] for part in ("ngram", "weighted_ngram", "syntax")} | {
        name: translation[name] for name in ("BLEU", "Acc")
    } == printed["trans"]
    refinement, concode, summaries = (
        scores("refine", "refinement"),
        scores("concode", "text_to_code"),
        scores("code_to_text", "code_to_text"),
    )
    assert {name: refinement[name] for name in ("BLEU", "Acc")} == printed["refine"]
    assert (concode["BLEU"], concode["EM"]) == (printed["concode"]["BLEU"], printed["concode"]["EM"])
    assert summaries == {"smoothed_BLEU": printed["code_to_text"]["smoothed_BLEU"]}


# Errors


@pytest.mark.parametrize("task", ["text_to_code", "code_to_code_c_sharp", "refinement", "code_to_text"])
def test_unlike_lengths_and_no_rows_are_the_users_errors(task):
    with pytest.raises(UserError, match="hypotheses: expected 2, one a reference, got 1; give both"):
        codexglue_scores(task, ["a", "b"], ["a"])
    with pytest.raises(UserError, match="references: expected one text or more, got none"):
        codexglue_scores(task, [], [])


def test_an_unknown_task_or_language_is_the_users_error(parsers):
    with pytest.raises(UserError, match="task: expected one of text_to_code, .*, got 'translation'; name the task"):
        codexglue_scores("translation", ["a"], ["a"])
    with pytest.raises(UserError, match="language: expected one of java, c_sharp, python, got 'cobol'; CodeBLEU"):
        codebleu(["a"], ["a"], "cobol")


@pytest.mark.parametrize(("module", "package"), [("tree_sitter", "tree-sitter"), ("tree_sitter_c_sharp", "tree-sitter-c-sharp")])
def test_a_parser_that_is_not_installed_is_the_users_error(parsers, monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    parsing._parser.cache_clear()
    with pytest.raises(UserError, match=rf"CodeBLEU: expected the package {package}, got none installed; pip install '.\[codexglue\]'"):
        codebleu(["a"], ["a"], "c_sharp")
    assert codexglue_scores("code_to_text", ["a b"], ["a b"]) == {"smoothed_BLEU": pytest.approx(100)}
