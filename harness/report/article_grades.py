"""The article's fourteen texts, read and graded by the same code as a model's answers.

Input: the article and fixtures/students -> output: a grade for each (question, hint, column). The
article gives no table; ours stands in, so a grade says what the text does on our rows.
"""

from __future__ import annotations

from harness.data.sources.students import StudentQuestion, load_students
from harness.report.article import Article
from harness.report.tables.question_tables import ArticleGrades, Graded
from harness.sql.grade.answer import correct, execute_all


def grade_article(article: Article) -> ArticleGrades:
    """Run every text of the article that answers one of our questions."""
    asked: dict[tuple[str, str | None], StudentQuestion] = {
        (student.question, student.hint): student for student in load_students()
    }
    texts = [
        ((question.question, answer.hint, column), answer.text)
        for question in article.questions
        for column, answer in question.answers.items()
        if (question.question, answer.hint) in asked
    ]
    of = [asked[key[0], key[1]] for key, _ in texts]
    golds = execute_all([(student.table, student.gold_sql) for student in of])
    found = execute_all(
        [(student.table, text) for student, (_, text) in zip(of, texts, strict=True)]
    )
    return {
        key: Graded(
            correct(answer, gold),
            None if answer.rows is None else [list(row) for row in answer.rows],
            answer.failure,
        )
        for (key, _), answer, gold in zip(texts, found, golds, strict=True)
    }
