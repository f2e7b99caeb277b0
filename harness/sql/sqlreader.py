"""stub"""
from harness.sql.failures import Failure
def read_sql(statement, names):
    return Failure("syntax", "")
